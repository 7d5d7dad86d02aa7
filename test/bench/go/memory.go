package main

import (
	"runtime"

	events "github.com/docker/go-events"
)

const subscribers = 10

// stuck is a sink that never returns from its first write.
type stuck struct{}

func (stuck) Write(events.Event) error { select {} }
func (stuck) Close() error             { return nil }

func bytesQueueCase(l load, _ []string) sample {
	return held(l, func() events.Sink { return events.NewQueue(stuck{}) })
}

func bytesBroadcastCase(l load, _ []string) sample {
	return held(l, func() events.Sink {
		sinks := make([]events.Sink, subscribers)
		for i := range sinks {
			sinks[i] = events.NewQueue(stuck{})
		}
		return events.NewBroadcaster(sinks...)
	})
}

// held answers with the bytes that each of n waiting events keeps.
func held(l load, make func() events.Sink) sample {
	return func() figures {
		sink := make()
		before := bytesInUse()
		writeAll(sink, l.n)
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
