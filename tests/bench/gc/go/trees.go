// trees.go - ../trees.c for Go.
package main

type node struct{ left, right *node }

const depthLeast = 4

var longLived *node

func treeNew(depth uint64) *node {
	if depth == 0 {
		return &node{}
	}
	left := treeNew(depth - 1)
	right := treeNew(depth - 1)
	return &node{left, right}
}

func (n *node) count() uint64 {
	if n.left == nil {
		return 1
	}
	return 1 + n.left.count() + n.right.count()
}

func main() {
	depth := arg("depth", 18)
	count := arg("threads", 2)
	argsEnd()
	c := begin()
	sum := treeNew(depth + 1).count()
	longLived = treeNew(depth)
	sum += threads(count, func(number uint64) uint64 {
		var sum uint64
		for d := uint64(depthLeast); d <= depth; d += 2 {
			trees := uint64(1) << (depth - d + depthLeast)
			for i := number; i < trees; i += count {
				sum += treeNew(d).count()
			}
		}
		return sum
	})
	sum += longLived.count()
	c.end(float64(sum), sum)
}
