package main

import (
	"runtime"
	"sync"

	events "github.com/docker/go-events"
)

const subscribers = 10

// stuck is a sink that never returns from its first write.
type stuck struct{}

func (stuck) Write(events.Event) error { select {} }
func (stuck) Close() error             { return nil }

func bytesQueueCase(l load, _ []string) sample {
	return held(l, func() (events.Sink, func()) {
		queue := events.NewQueue(stuck{})
		return queue, func() { writeAll(queue, l.n) }
	})
}

// bytesBroadcastCase has so many sinks that hang, and others that get ten events at a time.
func bytesBroadcastCase(l load, args []string) sample {
	return held(l, func() (events.Sink, func()) {
		var done sync.WaitGroup
		var counters []*counter
		sinks := make([]events.Sink, subscribers)
		for i := range sinks {
			if i < number(args[0]) {
				sinks[i] = events.NewQueue(stuck{})
			} else {
				c := &counter{done: &done}
				counters = append(counters, c)
				sinks[i] = events.NewQueue(c)
			}
		}
		b := events.NewBroadcaster(sinks...)
		return b, func() {
			for written := 0; written < l.n; written += 10 {
				for _, c := range counters {
					c.expect(10)
				}
				writeAll(b, 10)
				done.Wait()
			}
		}
	})
}

// held answers with the bytes that each of n waiting events keeps.
func held(l load, make func() (events.Sink, func())) sample {
	return func() figures {
		sink, fill := make()
		before := bytesInUse()
		fill()
		bytes := float64(bytesInUse()-before) / float64(l.n)
		runtime.KeepAlive(sink)
		return figures{"bytes": bytes}
	}
}

func bytesInUse() int64 {
	runtime.GC()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return int64(memory.HeapAlloc)
}
