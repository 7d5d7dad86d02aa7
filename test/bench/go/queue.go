package main

import (
	"time"

	events "github.com/docker/go-events"
)

func queueCase(l load, _ []string) sample {
	c := newCounter()
	return throughput(l, writes(l, events.NewQueue(c), c, l.n))
}

func pipelineCase(l load, _ []string) sample {
	c := newCounter()
	retrier := events.NewRetryingSink(c, events.NewBreaker(5, time.Second))
	wanted := func(event events.Event) bool { return len(event.(string)) > 0 }
	sink := events.NewFilter(events.NewQueue(retrier), events.MatcherFunc(wanted))
	return throughput(l, writes(l, sink, c, l.n))
}
