package main

import events "github.com/docker/go-events"

// filterCase lets every second event through.
func filterCase(l load, _ []string) sample {
	c := newCounter()
	even := events.MatcherFunc(func(event events.Event) bool { return event.(int)%2 == 0 })
	sink := events.NewFilter(c, even)
	// Made once: putting a number into an interface costs an allocation that is not the filter's.
	numbers := make([]events.Event, l.n)
	for i := range numbers {
		numbers[i] = i
	}
	return throughput(l, func() {
		c.expect((l.n + 1) / 2)
		for _, number := range numbers {
			if err := sink.Write(number); err != nil {
				panic(err)
			}
		}
		c.done.Wait()
	})
}
