package journal

import (
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/schemas"
)

// An Outgoing is a frozen event that waits to be published. Rows of one shop
// must reach Kafka by rising Row.
type Outgoing struct {
	Row     int64 // position in the queue, rising; not reused
	Event   uuid.UUID
	Type    string          // the contract's name of the topic
	Message schemas.Message // Key, Value, Headers; never Topic, Partition, Offset
	Since   time.Time
}

// A Published row reached Kafka.
type Published struct {
	Row       int64
	Partition int
	Offset    int64 // -1 where the broker did not say
}
