package main

import (
	"time"

	events "github.com/docker/go-events"
)

func retryCase(l load, args []string) sample {
	var strategy events.RetryStrategy = events.NewExponentialBackoff(events.DefaultExponentialBackoffConfig)
	if args[0] == "breaker" {
		strategy = events.NewBreaker(5, time.Second)
	}
	c := newCounter()
	return throughput(l, writes(l, events.NewRetryingSink(c, strategy), c, l.n))
}
