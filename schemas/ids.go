package schemas

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// namespace is the root of every id that this package makes. It must never
// change: an event that is published again has to carry the same id.
var namespace = uuid.UUID{0x6b, 0x1d, 0x0c, 0x52, 0x9e, 0x37, 0x4f, 0x0a, 0xb3, 0x41, 0x5e, 0x8a, 0xd2, 0x76, 0x14, 0xc9}

// EventID names the event of type typ that the given run of an operation
// leads to. Repeats and recovery give the same id.
func EventID(operation uuid.UUID, run int, typ string) uuid.UUID {
	return newV5("event", operation[:], number(int64(run)), []byte(typ))
}

// OperationID names an operation by its key: kind ("invite", "activate"),
// account, shop, the keyed MAC of the address or code, and the generation. An
// activation is one per code and account, whichever shop: its shop is "".
func OperationID(kind, account, shop string, mac []byte, generation int) uuid.UUID {
	return newV5("operation", []byte(kind), []byte(account), []byte(shop), mac, number(int64(generation)))
}

// RecordID makes the id of an event that has none (plain JSON). Time and the
// keyed digest of the content are part of it, so that a topic that was deleted
// and made anew, with the same offsets, repeats nothing.
func RecordID(topic string, partition int, offset int64, recordTime time.Time, digest []byte) string {
	return newV5("record", recordPlace(topic, partition, offset, recordTime, digest)...).String()
}

// DeadLetterID names the dead letter of a record. The digest is a keyed one of
// the record, or nil.
func DeadLetterID(topic string, partition int, offset int64, recordTime time.Time, digest []byte) uuid.UUID {
	return newV5("dead letter", recordPlace(topic, partition, offset, recordTime, digest)...)
}

// Identity is what tells two input events apart: the topic, the source and the
// id, each with its length so that no two triples run together.
func Identity(topic, source, id string) [sha256.Size]byte {
	return sha256.Sum256(lengthPrefixed([]byte(topic), []byte(source), []byte(id)))
}

func recordPlace(topic string, partition int, offset int64, at time.Time, digest []byte) [][]byte {
	// Kafka's clock counts milliseconds; a zero time counts as none.
	var ms int64
	if !at.IsZero() {
		ms = at.UnixMilli()
	}
	return [][]byte{[]byte(topic), number(int64(partition)), number(offset), number(ms), digest}
}

func newV5(what string, parts ...[]byte) uuid.UUID {
	return uuid.NewSHA1(namespace, lengthPrefixed(append([][]byte{[]byte(what)}, parts...)...))
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// lengthPrefixed puts each part behind its length.
func lengthPrefixed(parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += 8 + len(p)
	}
	b := make([]byte, 0, size)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}
