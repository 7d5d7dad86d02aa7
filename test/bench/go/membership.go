package main

import (
	"runtime"
	"time"

	events "github.com/docker/go-events"
)

const sinks = 10_000

// membershipCase adds n sinks to a broadcaster that has 10,000, and removes them.
func membershipCase(l load, _ []string) sample {
	all := make([]events.Sink, sinks)
	for i := range all {
		all[i] = newCounter()
	}
	more := make([]events.Sink, l.n)
	for i := range more {
		more[i] = newCounter()
	}
	b := events.NewBroadcaster(all...)
	return func() figures {
		runtime.GC()
		start := time.Now()
		for _, sink := range more {
			b.Add(sink)
		}
		between := time.Now()
		for _, sink := range more {
			b.Remove(sink)
		}
		micros := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(l.n) }
		return figures{"add": micros(between.Sub(start)), "remove": micros(time.Since(between))}
	}
}
