// pauses.go - ../pauses.c for Go. Each goroutine is locked to a thread of its own; those that wait do so in
// the system calls themselves. The pause of a cycle is the sum of its two stops, as MemStats has it.
package main

import (
	"fmt"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
)

type node struct {
	next, other *node
	numbers     [6]uint64
}

const chainLength = 8

var (
	tables   [][]*node
	end      uint32
	replaced uint64
)

func chainNew(number uint64) *node {
	var head *node
	for i := uint64(0); i < chainLength; i++ {
		n := new(node)
		n.numbers[0] = number + i
		n.next = head
		head = n
	}
	return head
}

func replace(number uint64) {
	r := rngBegin(3 + number)
	table := tables[number]
	done := uint64(0)
	for atomic.LoadUint32(&end) == 0 {
		table[r.below(uint64(len(table)))] = chainNew(done)
		done++
	}
	atomic.AddUint64(&replaced, done)
}

func lie(number uint64) {
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		die("epoll_create1: " + err.Error())
	}
	for atomic.LoadUint32(&end) == 0 {
		if number%2 == 1 {
			var events [1]syscall.EpollEvent
			syscall.EpollWait(poll, events[:], 200)
		} else {
			wait := syscall.Timespec{Nsec: 200000000}
			syscall.Nanosleep(&wait, nil)
		}
	}
	syscall.Close(poll)
}

func main() {
	mib := arg("mib", 500)
	count := arg("threads", 64)
	waiting := arg("waiting", 32)
	seconds := arg("seconds", 10)
	collections := arg("collections", 200)
	argsEnd()
	working := count - waiting
	slots := mib << 20 / (chainLength*64 + 8) / working
	tables = make([][]*node, working)
	threads(working, func(number uint64) uint64 {
		table := make([]*node, slots)
		for i := range table {
			table[i] = chainNew(uint64(i))
		}
		tables[number] = table
		return 0
	})
	var group sync.WaitGroup
	for i := uint64(0); i < count; i++ {
		group.Add(1)
		go func(number uint64) {
			defer group.Done()
			runtime.LockOSThread()
			if number < working {
				replace(number)
			} else {
				lie(number)
			}
		}(i)
	}
	runtime.GC()
	c := begin()
	f := readFigures()
	var pauses []uint64
	until := nowNs() + seconds*1000000000
	for i := uint64(0); i < collections && nowNs() < until; i++ {
		runtime.GC()
		now := readFigures()
		for k := uint64(1); k < now.cycles-f.cycles; k++ {
			pauses = append(pauses, (now.pauseTotalNs-f.pauseTotalNs-now.pauseLastNs)/(now.cycles-f.cycles-1))
		}
		pauses = append(pauses, now.pauseLastNs)
		f = now
	}
	atomic.StoreUint32(&end, 1)
	group.Wait()
	sort.Slice(pauses, func(i, j int) bool { return pauses[i] < pauses[j] })
	us := func(share float64) float64 {
		at := int(share * float64(len(pauses)))
		if at >= len(pauses) {
			at = len(pauses) - 1
		}
		return float64(pauses[at]) / 1e3
	}
	under := sort.Search(len(pauses), func(i int) bool { return pauses[i] >= 1000000 })
	fmt.Printf("stop_p50_us=%.1f stop_p90_us=%.1f stop_p99_us=%.1f stop_longest_us=%.1f under_1ms=%.4f chains=%d ",
		us(0.5), us(0.9), us(0.99), us(1), float64(under)/float64(len(pauses)), replaced)
	c.end(float64(len(pauses)), 0)
}
