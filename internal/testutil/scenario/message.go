package scenario

import (
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/schemas"
)

// Event is a platform's event about a shop in CloudEvents' binary mode.
func Event(typ, id, shop, data string) kafkago.Message {
	return kafkago.Message{
		Key: []byte(shop), Value: []byte(data),
		Headers: []kafkago.Header{
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte(id)},
			{Key: "ce_source", Value: []byte("/platform")},
			{Key: "ce_type", Value: []byte(typ)},
			{Key: "ce_subject", Value: []byte(shop)},
			{Key: "content-type", Value: []byte("application/json")},
		},
	}
}

// Header gives the value of a record's header, "" where it has none.
func Header(m kafkago.Message, key string) string {
	for _, h := range m.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// FromKafka is a record as the schemas read it.
func FromKafka(m kafkago.Message) schemas.Message {
	out := schemas.Message{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Time: m.Time, Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, schemas.Header{Key: h.Key, Value: h.Value})
	}
	return out
}
