// cache.go - ../cache.c for Go; values are held by a pointer and a length of 32 bits, as there.
package main

import (
	"fmt"
	"math/bits"
	"os"
	"unsafe"
)

type entry struct {
	next         *entry
	value        *byte
	key          uint64
	bytes, reads uint32
}

const valueLeast = 64

type worker struct {
	histogram
	sum, liveBytes uint64
	apart          [128]byte
}

var (
	table                               []*entry
	bucketCount, chain, largest, shares uint64
	source                              [1 << 16]byte
	workers                             [64]worker
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

func (w *worker) insert(bucket **entry, key uint64, r *rng) {
	e := new(entry)
	e.value = valueNew(r, &e.bytes)
	e.key = key
	e.next = *bucket
	*bucket = e
	w.liveBytes += 32 + uint64(e.bytes)
	last := e
	for length := uint64(1); last.next != nil && length < chain; length++ {
		last = last.next
	}
	for last.next != nil {
		gone := last.next
		last.next = gone.next
		w.liveBytes -= 32 + uint64(gone.bytes)
	}
}

func (w *worker) operation(r *rng, share uint64) {
	random := r.next()
	key, _ := bits.Mul64(random, bucketCount/shares*chain*2)
	bucket := &table[key%(bucketCount/shares)*shares+share]
	e := *bucket
	for e != nil && e.key != key {
		e = e.next
	}
	if e == nil {
		w.insert(bucket, key, r)
	} else if random%4 == 0 {
		w.liveBytes -= uint64(e.bytes)
		e.value = valueNew(r, &e.bytes)
		w.liveBytes += uint64(e.bytes)
	} else {
		e.reads++
		value := unsafe.Slice(e.value, e.bytes)
		w.sum += uint64(value[0]) + uint64(value[e.bytes-1])
	}
}

func main() {
	shares = arg("threads", 2)
	each := arg("operations", 12000000) / shares
	bucketCount = arg("buckets", 262144) / shares * shares
	chain = arg("chain", 4)
	largest = arg("largest", 544)
	argsEnd()
	random := rngBegin(1)
	for i := range source {
		source[i] = byte(random.next())
	}
	table = make([]*entry, bucketCount)
	threads(shares, func(number uint64) uint64 {
		r := rngBegin(7 + number)
		for i := uint64(0); i < bucketCount/shares*chain*5/2; i++ {
			workers[number].operation(&r, number)
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
