// barrier.go - ../barrier.c for Go: stores of pointers while no cycle marks (mode=set; there is no other).
package main

import "fmt"

type item struct {
	next, other *item
	a, b        uint64
}

const objectCount = 512

var (
	objects []*item
	value   *item
)

//go:noinline
func storesSet(to *[objectCount]*item, value *item, count uint64) {
	for i := uint64(0); i < count; i++ {
		to[i%objectCount].other = value
	}
}

func main() {
	mode := argText("mode", "set")
	stores := arg("stores", 400000000)
	argsEnd()
	if mode != "set" {
		die("mode=" + mode)
	}
	objects = make([]*item, objectCount)
	for i := range objects {
		objects[i] = new(item)
	}
	value = new(item)
	c := begin()
	from := nowNs()
	storesSet((*[objectCount]*item)(objects), value, stores)
	fmt.Printf("store_ns=%.3f ", float64(nowNs()-from)/float64(stores))
	c.end(float64(stores), 0)
}
