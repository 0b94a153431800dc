// short.go - ../short.c for Go.
package main

type item struct {
	next    *item
	a, b, c uint64
}

var live *item

func main() {
	objects := arg("objects", 200000000)
	chain := arg("chain", 100)
	liveCount := arg("live_mib", 0) << 20 / 32
	count := arg("threads", 2)
	argsEnd()
	each := objects / count
	for i := uint64(0); i < liveCount; i++ {
		live = &item{next: live}
	}
	c := begin()
	sum := threads(count, func(number uint64) uint64 {
		var sum uint64
		for made := uint64(0); made < each; {
			var head *item
			for i := uint64(0); i < chain; i++ {
				head = &item{next: head, a: made, b: number}
				made++
			}
			for ; head != nil; head = head.next {
				sum += head.a + head.b + head.c
			}
		}
		return sum
	})
	c.end(float64(objects), sum)
}
