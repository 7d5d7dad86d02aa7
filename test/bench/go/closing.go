package main

import (
	"runtime"
	"time"

	events "github.com/docker/go-events"
)

// heldBack is a sink that holds the first event until it is opened.
type heldBack struct {
	open  chan struct{}
	first bool
	count int
}

func (h *heldBack) Write(events.Event) error {
	if !h.first {
		h.first = true
		<-h.open
	}
	h.count++
	return nil
}

func (h *heldBack) Close() error { return nil }

// closeCase closes a queue in which n events wait.
func closeCase(l load, _ []string) sample {
	return func() figures {
		sink := &heldBack{open: make(chan struct{})}
		queue := events.NewQueue(sink)
		writeAll(queue, l.n)
		runtime.GC()
		cpu, start := cpuTime(), time.Now()
		close(sink.open)
		queue.Close()
		wall, used := time.Since(start), cpuTime()-cpu
		if sink.count != l.n {
			panic("a close that lost something is not worth a figure")
		}
		millis := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
		return figures{"wall": millis(wall), "cpu": millis(used)}
	}
}
