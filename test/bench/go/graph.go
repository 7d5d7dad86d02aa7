package main

import (
	"sync"
	"time"

	events "github.com/docker/go-events"
)

// graphCase is a broadcaster over branches, each a filter, a queue, a retrier and a sink that counts.
func graphCase(l load, args []string) sample {
	var done sync.WaitGroup
	wanted := events.MatcherFunc(func(event events.Event) bool { return len(event.(string)) > 0 })
	counters := make([]*counter, number(args[0]))
	branches := make([]events.Sink, len(counters))
	for i := range branches {
		// Each has a number of its own to count down: see broadcastQueuedCase.
		counters[i] = &counter{done: &done}
		retrier := events.NewRetryingSink(counters[i], events.NewBreaker(5, time.Second))
		branches[i] = events.NewFilter(events.NewQueue(retrier), wanted)
	}
	b := events.NewBroadcaster(branches...)
	return throughput(l, func() {
		for _, c := range counters {
			c.expect(l.n)
		}
		writeAll(b, l.n)
		done.Wait()
	})
}
