package main

import (
	"sync"

	events "github.com/docker/go-events"
)

// broadcastQueuedCase has a queue before each sink, as the original's documentation tells its users to.
func broadcastQueuedCase(l load, args []string) sample {
	var done sync.WaitGroup
	counters := make([]*counter, number(args[0]))
	sinks := make([]events.Sink, len(counters))
	for i := range sinks {
		// Each has a number of its own to count down: one that they share would cost the original a lock.
		counters[i] = &counter{done: &done}
		sinks[i] = events.NewQueue(counters[i])
	}
	b := events.NewBroadcaster(sinks...)
	return throughput(l, func() {
		for _, c := range counters {
			c.expect(l.n)
		}
		writeAll(b, l.n)
		done.Wait()
	})
}

// keeper is a sink that keeps what it gets under a lock, in an array that is large enough: what the sinks of the
// original's own benchmark do.
type keeper struct {
	mu     sync.Mutex
	kept   []events.Event
	closed bool
	count  *counter
}

func (k *keeper) Write(event events.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return events.ErrSinkClosed
	}
	k.kept = append(k.kept, event)
	return k.count.Write(event)
}

func (k *keeper) Close() error { return nil }

// broadcastDirectCase is the original's own benchmark: no queues, and one goroutine writes to every sink.
func broadcastDirectCase(l load, args []string) sample {
	c := newCounter()
	keepers := make([]*keeper, number(args[0]))
	sinks := make([]events.Sink, len(keepers))
	for i := range sinks {
		keepers[i] = &keeper{kept: make([]events.Event, 0, l.n), count: c}
		sinks[i] = keepers[i]
	}
	write := writes(l, events.NewBroadcaster(sinks...), c, l.n*len(sinks))
	return throughput(l, func() {
		for _, k := range keepers {
			k.kept = k.kept[:0]
		}
		write()
	})
}
