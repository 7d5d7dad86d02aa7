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
		cpu, start := cpuTime(), time.Now()
		for _, sink := range more {
			b.Add(sink)
		}
		between := time.Since(start)
		for _, sink := range more {
			b.Remove(sink)
		}
		micros := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(l.n) }
		wall, used := time.Since(start), cpuTime()-cpu
		return figures{"cpu": micros(used), "wall": micros(wall), "add": micros(between), "remove": micros(wall - between)}
	}
}
