package main

import (
	"runtime"
	"sort"
	"time"

	events "github.com/docker/go-events"
)

// clock notes how long each event was on its way: the event is the time at which it was written.
type clock struct {
	epoch time.Time
	waits []time.Duration
	*counter
}

func (c *clock) Write(event events.Event) error {
	c.waits = append(c.waits, time.Since(c.epoch)-event.(time.Duration))
	return c.counter.Write(event)
}

// latencyCase writes at half of the rate that it has found to be possible.
func latencyCase(l load, _ []string) sample {
	c := &clock{time.Now(), make([]time.Duration, 0, l.n), newCounter()}
	queue := events.NewQueue(c)
	// paced writes n events at so many in a nanosecond, or as fast as it can, and answers with how many that were.
	paced := func(rate float64) float64 {
		runtime.GC()
		c.waits = c.waits[:0]
		c.expect(l.n)
		start := time.Now()
		for written := 0; written < l.n; {
			now := time.Now()
			if rate > 0 && float64(written) >= float64(now.Sub(start).Nanoseconds())*rate {
				runtime.Gosched()
				continue
			}
			written++
			if err := queue.Write(now.Sub(c.epoch)); err != nil {
				panic(err)
			}
		}
		c.done.Wait()
		return float64(l.n) / float64(time.Since(start).Nanoseconds())
	}
	for i := 0; i < 5; i++ {
		paced(0)
	}
	full := paced(0)
	return func() figures {
		rate := paced(full / 2)
		sort.Slice(c.waits, func(i, j int) bool { return c.waits[i] < c.waits[j] })
		at := func(p float64) float64 { return float64(c.waits[int(p*float64(l.n))].Nanoseconds()) / 1e3 }
		return figures{"p50": at(0.5), "p99": at(0.99), "rate": rate * 1e9}
	}
}
