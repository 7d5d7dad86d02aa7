package main

import (
	"runtime"
	"sort"
	"time"

	events "github.com/docker/go-events"
)

// gate is a sink that takes as many events as it is allowed.
type gate struct {
	allowed chan struct{}
	taken   chan struct{}
}

func (g gate) Write(events.Event) error {
	<-g.allowed
	g.taken <- struct{}{}
	return nil
}

func (g gate) Close() error { return nil }

// backlogCase writes n events, timed, and lets n be delivered, again and again, while so many wait.
func backlogCase(l load, args []string) sample {
	g := gate{make(chan struct{}), make(chan struct{})}
	queue := events.NewQueue(g)
	writeAll(queue, number(args[0]))
	return func() figures {
		runtime.GC()
		var bursts []float64
		sum := 0.0
		for start := time.Now(); len(bursts) == 0 || time.Since(start) < l.millis; {
			before := time.Now()
			writeAll(queue, l.n)
			burst := float64(time.Since(before).Nanoseconds()) / float64(l.n)
			bursts = append(bursts, burst)
			sum += burst
			for i := 0; i < l.n; i++ {
				g.allowed <- struct{}{}
				<-g.taken
			}
		}
		sort.Float64s(bursts)
		return figures{"mean": sum / float64(len(bursts)), "typical": bursts[len(bursts)/2]}
	}
}
