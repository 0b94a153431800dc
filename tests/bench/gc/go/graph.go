// graph.go - ../graph.c for Go. The index of nodes lies in mapped memory, which the collector does not look
// at; collections are held off until it is gone.
package main

import (
	"fmt"
	"runtime"
	"unsafe"
)

const edgesEach = 4

type node struct {
	to           [edgesEach]*node
	number, seen uint64
}

var root *node

func mapWords32(count uint64) []uint32 { return unsafe.Slice((*uint32)(mapBytes(count*4)), count) }

func edgesNew(count uint64, order string) []uint32 {
	edges := mapWords32(count * edgesEach)
	r := rngBegin(42)
	for i := range edges {
		if order == "near" {
			edges[i] = uint32((uint64(i)/edgesEach + 1 + r.below(16)) % count)
		} else {
			edges[i] = uint32(r.below(count))
		}
	}
	return edges
}

func orderWalk(edges []uint32, count uint64) []uint32 {
	order := mapWords32(count)
	met := make([]bool, count)
	tail := uint64(1)
	met[0] = true
	for head := uint64(0); head < tail; head++ {
		for _, to := range edges[uint64(order[head])*edgesEach:][:edgesEach] {
			if !met[to] {
				met[to] = true
				order[tail] = to
				tail++
			}
		}
	}
	for i := range met {
		if !met[i] {
			order[tail] = uint32(i)
			tail++
		}
	}
	return order
}

func graphMake(count uint64, layout string) {
	edges := edgesNew(count, layout)
	var order []uint32
	if layout == "walk" {
		order = orderWalk(edges, count)
	}
	at := mapBytes(count * 8)
	index := unsafe.Slice((*uintptr)(at), count)
	for i := uint64(0); i < count; i++ {
		number := i
		if order != nil {
			number = uint64(order[i])
		}
		n := new(node)
		n.number = number
		*(**node)(unsafe.Pointer(&index[number])) = n // as a uintptr it would stay on the stack
	}
	for i := uint64(0); i < count; i++ {
		n := *(**node)(unsafe.Pointer(&index[i]))
		for j := range n.to {
			n.to[j] = *(**node)(unsafe.Pointer(&index[edges[i*edgesEach+uint64(j)]]))
		}
	}
	root = *(**node)(unsafe.Pointer(&index[0]))
	unmapBytes(at, count*8)
	unmapBytes(unsafe.Pointer(&edges[0]), count*edgesEach*4)
	if order != nil {
		unmapBytes(unsafe.Pointer(&order[0]), count*4)
	}
}

func graphSum(count uint64) uint64 {
	stack := make([]*node, 1, count)
	stack[0] = root
	root.seen = 1
	var sum uint64
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		sum += n.number*3 + 1
		for _, to := range n.to {
			if to.seen == 0 {
				to.seen = 1
				stack = append(stack, to)
			}
		}
	}
	return sum
}

func main() {
	count := arg("nodes", 10000000)
	layout := argText("order", "random")
	runs := arg("runs", 3)
	argsEnd()
	hold()
	graphMake(count, layout)
	letGo()
	runtime.GC()
	c := begin()
	least := ^uint64(0)
	for i := uint64(0); i < runs; i++ {
		from := nowNs()
		runtime.GC()
		if took := nowNs() - from; took < least {
			least = took
		}
	}
	c.stop()
	fmt.Printf("least_s=%.4f rss_kib=%d ", float64(least)/1e9, fieldKib("/proc/self/status", "VmRSS:"))
	hold()
	c.end(float64(runs), graphSum(count))
}
