package main

import events "github.com/docker/go-events"

func channelCase(l load, args []string) sample {
	c := newCounter()
	channel := events.NewChannel(number(args[0]))
	go func() {
		for {
			select {
			case event := <-channel.C:
				c.Write(event)
			case <-channel.Done():
				return
			}
		}
	}()
	return throughput(l, writes(l, channel, c, l.n))
}
