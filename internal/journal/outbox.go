package journal

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/schemas"
)

// An OutboxRow is an encoded event that waits to be published. Rows of one shop
// must reach Kafka by rising Row.
type OutboxRow struct {
	Row     int64 // position in the queue, rising; not reused
	Event   uuid.UUID
	Type    string          // the contract's name of the topic
	Message schemas.Message // Key, Value, Headers; never Topic, Partition, Offset
	Since   time.Time
	// Sequence is the event's, 0 for a dead letter. MAC is the one that the journal's
	// Authenticator made when the row was inserted; nil also if the row is damaged.
	Sequence int64
	MAC      []byte
}

// Authentic lists the values that the MAC of the row covers.
func (o OutboxRow) Authentic() [][]byte {
	parts := make([][]byte, 0, 5+2*len(o.Message.Headers))
	texts := make([]byte, 0, 256) // the strings of all parts
	part := func(s string) []byte {
		texts = append(texts, s...)
		return texts[len(texts)-len(s):]
	}
	parts = append(parts, o.Event[:], part(o.Type), strconv.AppendInt(nil, o.Sequence, 10), o.Message.Key, o.Message.Value)
	for _, h := range o.Message.Headers {
		parts = append(parts, part(h.Key), h.Value)
	}
	return parts
}

// An Authenticator makes the MAC of a row of the outbox from its event, type,
// sequence and message. It must be quick and pure.
type Authenticator func(OutboxRow) ([]byte, error)

// A Published row is one whose event is in Kafka.
type Published struct {
	Row       int64
	Partition int
	Offset    int64 // -1 if the broker did not return it
}
