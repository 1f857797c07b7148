package consumer

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
)

const (
	claimsFormat   = 1
	maxClaimsBytes = 64 << 10 // the broker keeps all members' user data in one record of at most 1 MiB
	maxTopicName   = 249      // as Kafka's
)

// claims say which partitions a member holds, each with the generation since
// which it has held it without a break. They are a hint for who deals.
type claims map[topicPartition]int64

func (p topicPartition) compare(q topicPartition) int {
	return cmp.Or(cmp.Compare(p.topic, q.topic), cmp.Compare(p.partition, q.partition))
}

// A paused remembers what this member holds, from one generation to the next.
type holding struct {
	mu         sync.Mutex
	generation int32
	since      claims
}

// initPositions notes what a new generation has given. A partition is held without a
// break only from a generation to the very next one: between others this member
// may have been cut off, and another may have had the partition.
func (h *holding) begin(generation int32, assigned map[string][]kafkago.PartitionAssignment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	unbroken := generation == h.generation+1 || generation == h.generation
	since := claims{}
	for topic, list := range assigned {
		for _, a := range list {
			p := topicPartition{topic, a.ID}
			at, held := h.since[p]
			if !held || !unbroken {
				at = int64(generation)
			}
			since[p] = at
		}
	}
	h.generation, h.since = generation, since
}

func (h *holding) claims() claims {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since // never changed, only replaced
}

// encodeClaims writes the format's number, and for every topic its name, how
// many partitions, and for each how far it lies behind the one before and since
// when it is held; numbers and the name's length as unsigned varints. The same
// claims give the same bytes: a member that joins again with other user data
// makes the whole group deal anew. What does not fit is not claimed.
func encodeClaims(c claims) []byte {
	if len(c) == 0 {
		return nil
	}
	topics := map[string][]topicPartition{}
	for _, p := range slices.SortedFunc(maps.Keys(c), topicPartition.compare) {
		topics[p.topic] = append(topics[p.topic], p)
	}
	data := []byte{claimsFormat}
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		part := binary.AppendUvarint(nil, uint64(len(topic)))
		part = append(part, topic...)
		part = binary.AppendUvarint(part, uint64(len(topics[topic])))
		next := 0
		for _, p := range topics[topic] {
			part = binary.AppendUvarint(part, uint64(p.partition-next)) // #nosec G115 -- they rise
			part = binary.AppendUvarint(part, uint64(c[p]))             // #nosec G115 -- generations are not negative
			next = p.partition + 1
		}
		if len(topic) <= maxTopicName && len(data)+len(part) <= maxClaimsBytes {
			data = append(data, part...)
		}
	}
	return data
}

// decodeClaims reads what encodeClaims wrote. From anything else, such as that of
// an older or a newer version, it reads that nothing is claimed.
func decodeClaims(data []byte) claims {
	if len(data) == 0 || len(data) > maxClaimsBytes || data[0] != claimsFormat {
		return nil
	}
	r := claimsReader{data: data[1:]}
	c := claims{}
	for len(r.data) > 0 && !r.bad {
		topic := r.name()
		next := uint64(0)
		// Each takes two bytes, so the data bounds how many there can be.
		for n := r.number(uint64(len(r.data))); n > 0 && !r.bad; n-- {
			partition := next + r.number(math.MaxInt32)
			since := r.number(math.MaxInt32)
			p := topicPartition{topic, int(partition)} // #nosec G115 -- at most two 31 bit numbers
			if _, twice := c[p]; twice || partition > math.MaxInt32 {
				return nil
			}
			c[p] = int64(since) // #nosec G115 -- 31 bits
			next = partition + 1
		}
	}
	if r.bad {
		return nil
	}
	return c
}

type claimsReader struct {
	data []byte
	bad  bool
}

// number reads one of at most limit.
func (r *claimsReader) number(limit uint64) uint64 {
	n, size := binary.Uvarint(r.data)
	if r.bad || size <= 0 || n > limit {
		r.bad = true
		return 0
	}
	r.data = r.data[size:]
	return n
}

func (r *claimsReader) name() string {
	n := int(r.number(maxTopicName)) // #nosec G115 -- small
	if r.bad || n > len(r.data) {
		r.bad = true
		return ""
	}
	name := string(r.data[:n])
	r.data = r.data[n:]
	return name
}
