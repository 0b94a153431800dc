// gcbench.go - ../gcbench.c for Go.
package main

type node struct {
	left, right *node
	i, j        int32
}

const depthLeast = 4

var (
	longLived *node
	array     []float64
	sinks     [64 * 16]*node // one for each thread, 128 bytes apart
)

func treeNodes(depth uint64) uint64 { return 2<<depth - 1 }

func populate(depth uint64, n *node) {
	if depth == 0 {
		return
	}
	n.left = new(node)
	n.right = new(node)
	populate(depth-1, n.left)
	populate(depth-1, n.right)
}

func treeNew(depth uint64) *node {
	if depth == 0 {
		return new(node)
	}
	left := treeNew(depth - 1)
	right := treeNew(depth - 1)
	return &node{left: left, right: right}
}

func (n *node) count() uint64 {
	if n == nil {
		return 0
	}
	return 1 + n.left.count() + n.right.count()
}

func timeConstruction(most, depth uint64, sink **node) uint64 {
	trees := 2 * treeNodes(most+2) / treeNodes(depth)
	for i := uint64(0); i < trees; i++ {
		root := new(node)
		populate(depth, root)
		*sink = root
	}
	for i := uint64(0); i < trees; i++ {
		*sink = treeNew(depth)
	}
	*sink = nil
	return 2 * trees * treeNodes(depth)
}

func main() {
	most := arg("depth", 16)
	times := arg("times", 3)
	count := arg("threads", 2)
	argsEnd()
	c := begin()
	sinks[0] = treeNew(most + 2)
	sinks[0] = nil
	longLived = new(node)
	populate(most, longLived)
	array = make([]float64, 8*treeNodes(most))
	for i := range array {
		array[i] = 1 / float64(i+1)
	}
	nodes := threads(count, func(number uint64) uint64 {
		var nodes uint64
		for i := uint64(0); i < times; i++ {
			for d := uint64(depthLeast); d <= most; d += 2 {
				nodes += timeConstruction(most, d, &sinks[number*16])
			}
		}
		return nodes
	})
	sum := nodes + longLived.count()
	if i := 1000 % len(array); array[i] == 1/float64(i+1) {
		sum++
	}
	c.end(float64(nodes), sum)
}
