// The original, measured: `go-events <n> <millis> <warm-up> <case> [arguments]`. The first line
// it reads makes it prepare and warm up, and say "ready"; each further line is answered with the
// figures of one sample, as a line of JSON. The other end is ../processes.ts.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"
)

// load is how much one sample is asked to do: n events at a time, again and again for at least so long.
type load struct {
	n      int
	millis time.Duration
}

type figures map[string]float64

// sample takes one measurement.
type sample func() figures

var cases = map[string]func(load, []string) sample{
	"queue":            queueCase,
	"broadcast-queued": broadcastQueuedCase,
	"broadcast-direct": broadcastDirectCase,
	"retry":            retryCase,
	"filter":           filterCase,
	"channel":          channelCase,
	"pipeline":         pipelineCase,
	"graph":            graphCase,
	"bytes-queue":      bytesQueueCase,
	"bytes-broadcast":  bytesBroadcastCase,
	"backlog":          backlogCase,
	"membership":       membershipCase,
	"latency":          latencyCase,
	"close":            closeCase,
}

func main() {
	n, millis, warmUp := number(os.Args[1]), number(os.Args[2]), number(os.Args[3])
	var take sample
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if take == nil {
			take = cases[os.Args[4]](load{n, time.Duration(millis) * time.Millisecond}, os.Args[5:])
			for start := cpuTime(); cpuTime()-start < time.Duration(warmUp)*time.Millisecond; {
				take()
			}
			fmt.Println("ready")
		} else if err := out.Encode(take()); err != nil {
			panic(err)
		}
	}
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}
