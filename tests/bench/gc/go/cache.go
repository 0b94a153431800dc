// cache.go - ../cache.c for Go; values are held by a pointer and a length of 32 bits, as there.
package main

import (
	"fmt"
	"math/bits"
	"os"
	"unsafe"
)

type entry struct {
	next           *entry
	value          *byte
	key            uint64
	bytes, version uint32
}

const valueLeast = 64

type worker struct {
	histogram
	sum, liveBytes uint64
	apart          [128]byte
}

var (
	table                          []*entry
	entries, largest, reads, shares uint64
	source                         [1 << 16]byte
	workers                        [64]worker
)

func valueNew(r *rng, size *uint32) *byte {
	random := r.next()
	n := valueLeast + uint32((random&0xffffff)*(largest-valueLeast)>>24)
	value := make([]byte, n)
	at := random >> 32 & 0x7fff
	copy(value, source[at:at+uint64(n)])
	*size = n
	return &value[0]
}

func (w *worker) put(slot **entry, key uint64, r *rng) {
	old, e := *slot, new(entry)
	e.value = valueNew(r, &e.bytes)
	e.key = key
	w.liveBytes += 32 + uint64(e.bytes)
	if old != nil {
		e.next = old.next
		e.version = old.version + 1
		w.liveBytes -= 32 + uint64(old.bytes)
	}
	*slot = e
}

func find(share, key uint64) **entry {
	slot := &table[(key*0x9e3779b97f4a7c15>>20)%entries*shares+share]
	for *slot != nil && (*slot).key != key {
		slot = &(*slot).next
	}
	return slot
}

func (w *worker) operation(r *rng, share uint64) {
	random := r.next()
	key, _ := bits.Mul64(random, entries)
	slot := find(share, key)
	if random%100 < reads {
		value := unsafe.Slice((*slot).value, (*slot).bytes)
		w.sum += uint64(value[0]) + uint64(value[len(value)-1])
		return
	}
	w.put(slot, key, r)
	w.sum += uint64(*(*slot).value) + uint64((*slot).version)
}

func main() {
	shares = arg("threads", 2)
	each := arg("operations", 12000000) / shares
	entries = arg("entries", 1<<20) / shares
	largest = arg("largest", 544)
	reads = arg("reads", 0)
	argsEnd()
	random := rngBegin(1)
	for i := range source {
		source[i] = byte(random.next())
	}
	table = make([]*entry, entries*shares)
	threads(shares, func(number uint64) uint64 {
		r := rngBegin(7 + number)
		for times := 0; times < 2; times++ {
			for key := uint64(0); key < entries; key++ {
				workers[number].put(find(number, key), key, &r)
			}
		}
		workers[number].sum = 0
		return 0
	})
	c := begin()
	threads(shares, func(number uint64) uint64 {
		r := rngBegin(77 + number)
		w := &workers[number]
		before := nowNs()
		for i := uint64(0); i < each; i++ {
			w.operation(&r, number)
			now := nowNs()
			w.add(now - before)
			before = now
		}
		return 0
	})
	var all histogram
	var sum, liveBytes uint64
	for i := uint64(0); i < shares; i++ {
		all.merge(&workers[i].histogram)
		sum += workers[i].sum * (i + 1)
		liveBytes += workers[i].liveBytes
	}
	fmt.Printf("p50_us=%.2f p99_us=%.2f p999_us=%.2f p9999_us=%.1f longest_us=%.1f live_kib=%d rss_kib=%d ",
		all.us(0.5), all.us(0.99), all.us(0.999), all.us(0.9999), float64(all.longestNs)/1e3, liveBytes>>10,
		fieldKib("/proc/self/status", "VmRSS:"))
	c.end(float64(each*shares), sum+liveBytes)
	os.Stdout.Sync()
}
