// sync.go - synchronisation, operation by operation: the cases of ../sync.c in Go.
//
//	sync CASE OPS		prints: nanoseconds an operation, CPU nanoseconds an operation
package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

var mutex sync.Mutex
var counter uint64
var pool sync.Pool

type block [256]byte

func together(count int, run func(number int)) {
	var group sync.WaitGroup
	for i := 0; i < count; i++ {
		group.Add(1)
		go func(number int) {
			run(number)
			group.Done()
		}(i)
	}
	group.Wait()
}

func cpuNs() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano() + usage.Stime.Nano())
}

func channel(capacity, senders, receivers, ops int) {
	channel := make(chan int64, capacity)
	if senders == 0 {
		for i := 0; i < ops; i++ {
			channel <- int64(i)
			<-channel
		}
		return
	}
	together(senders+receivers, func(number int) {
		if number < senders {
			for i := 0; i < ops/senders; i++ {
				channel <- int64(i)
			}
		} else {
			for i := 0; i < ops/receivers; i++ {
				<-channel
			}
		}
	})
}

func choose(c *[4]chan int64) int {
	select {
	case <-c[0]:
		return 0
	case <-c[1]:
		return 1
	case <-c[2]:
		return 2
	case <-c[3]:
		return 3
	}
}

func selects(capacity, ops int, alone bool) {
	var c [4]chan int64
	for i := range c {
		c[i] = make(chan int64, capacity)
	}
	if alone {
		for i := range c {
			c[i] <- 0
		}
		for i := 0; i < ops; i++ {
			c[choose(&c)] <- 0
		}
		return
	}
	together(2, func(number int) {
		for i := 0; i < ops; i++ {
			if number == 1 {
				c[i%4] <- int64(i)
			} else {
				choose(&c)
			}
		}
	})
}

func main() {
	name := os.Args[1]
	ops, _ := strconv.Atoi(os.Args[2])
	var a, b, c int
	pool.New = func() any { return new(block) }
	begin, cpu := time.Now(), cpuNs()
	if _, err := fmt.Sscanf(name, "mutex-%d", &a); err == nil {
		together(a, func(int) {
			for i := 0; i < ops/a; i++ {
				mutex.Lock()
				counter++
				mutex.Unlock()
			}
		})
	} else if _, err := fmt.Sscanf(name, "chan-%d-%d-%d", &a, &b, &c); err == nil {
		channel(a, b, c, ops)
	} else if name == "select-alone" {
		selects(4, ops, true)
	} else if _, err := fmt.Sscanf(name, "select-%d", &a); err == nil {
		selects(a, ops, false)
	} else if _, err := fmt.Sscanf(name, "pool-%d", &a); err == nil {
		together(a, func(int) {
			for i := 0; i < ops/a; i++ {
				pool.Put(pool.Get())
			}
		})
	} else {
		os.Exit(2)
	}
	fmt.Printf("%.2f %.2f\n", float64(time.Since(begin).Nanoseconds())/float64(ops), (cpuNs()-cpu)/float64(ops))
}
