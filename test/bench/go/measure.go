package main

import (
	"runtime"
	"sync"
	"syscall"
	"time"

	events "github.com/docker/go-events"
)

// event is the event of most cases: made once, so that what an event itself costs is in no figure.
var event events.Event = "event"

// counter is a sink that counts, and is done when the last of the expected events has come. One goroutine writes to it.
type counter struct {
	left int
	done *sync.WaitGroup
}

func newCounter() *counter { return &counter{done: &sync.WaitGroup{}} }

func (c *counter) expect(n int) {
	c.done.Add(1)
	c.left = n
}

func (c *counter) Write(events.Event) error {
	c.left--
	if c.left == 0 {
		c.done.Done()
	}
	return nil
}

func (c *counter) Close() error { return nil }

// cpuTime is what all threads of this process have used so far.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// throughput answers with the wall and CPU time in nanoseconds per event of a body that handles n events.
func throughput(l load, body func()) sample {
	return func() figures {
		runtime.GC()
		rounds := 0
		cpu, start := cpuTime(), time.Now()
		for rounds == 0 || time.Since(start) < l.millis {
			body()
			rounds++
		}
		wall, used := time.Since(start), cpuTime()-cpu
		handled := float64(rounds * l.n)
		return figures{"wall": float64(wall.Nanoseconds()) / handled, "cpu": float64(used.Nanoseconds()) / handled}
	}
}

// writes is a body that writes n events and waits for expected deliveries.
func writes(l load, sink events.Sink, c *counter, expected int) func() {
	return func() {
		c.expect(expected)
		writeAll(sink, l.n)
		c.done.Wait()
	}
}

func writeAll(sink events.Sink, n int) {
	for i := 0; i < n; i++ {
		if err := sink.Write(event); err != nil {
			panic(err)
		}
	}
}
