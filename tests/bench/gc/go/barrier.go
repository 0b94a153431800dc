// barrier.go - ../barrier.c for Go: stores of pointers while no cycle marks (mode=set; there is no other).
package main

import "fmt"

type item struct {
	next    *item
	a, b, c uint64
}

const slotCount = 1024

var (
	slots  []*item
	values [2]*item
)

//go:noinline
func storesSet(to *[slotCount]*item, count uint64) {
	first, second := values[0], values[1]
	for i := uint64(0); i < count; i += 2 {
		to[i%slotCount] = first
		to[(i+1)%slotCount] = second
	}
}

func main() {
	mode := argText("mode", "set")
	stores := arg("stores", 400000000)
	argsEnd()
	if mode != "set" {
		die("mode=" + mode)
	}
	slots = make([]*item, slotCount)
	values[0], values[1] = new(item), new(item)
	c := begin()
	from := nowNs()
	storesSet((*[slotCount]*item)(slots), stores)
	fmt.Printf("store_ns=%.3f ", float64(nowNs()-from)/float64(stores))
	c.end(float64(stores), 0)
}
