package schemas

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	contentTypeJSON       = "application/json"
	contentTypeCloudEvent = "application/cloudevents+json; charset=UTF-8"
	sequenceDigits        = 19 // of the largest int64, so that sequences sort as texts
)

// The errors of [Encode] and [DecodeOutput], to be compared with errors.Is.
var (
	// ErrEvent: the event breaks the contract. The text names the attribute or member.
	ErrEvent = errors.New("schemas: not an event of the contract")
	// ErrTooLarge: the record would be over MaxOutputBytes.
	ErrTooLarge = errors.New("schemas: the event is over 16 KiB")
)

func errEvent(where string) error { return fmt.Errorf("%w: %s", ErrEvent, where) }

// Encode writes an event as a record: topic the event's type (to be renamed by
// whoever maps topics), key the shop id or, for a dead letter,
// `topic/partition`. The same event gives the same bytes. Partition and offset
// of the record mean nothing.
//
// It refuses with [ErrEvent] or [ErrTooLarge] whatever [DecodeOutput] in strict
// mode would refuse.
func Encode(e Event, f Format) (Message, error) {
	if e.Data == nil || reflect.TypeOf(e.Data).Kind() == reflect.Pointer {
		return Message{}, errEvent("data is not a struct of this package, by value")
	}
	e.Time, e.Data = e.Time.UTC(), e.Data.inUTC()
	key, subject := keys(e.Data)
	if e.Subject == "" {
		e.Subject = subject
	}
	if err := e.check(); err != nil {
		return Message{}, err
	}
	data, err := json.Marshal(e.Data, json.Deterministic(true))
	if err != nil {
		return Message{}, errEvent("data")
	}
	m := Message{Topic: e.Type, Time: e.Time, Key: []byte(key)}
	switch f {
	case FormatBinary, "":
		m.Value = data
		m.Headers = binaryHeaders(e)
	case FormatStructured:
		if m.Value, err = json.Marshal(structuredOf(e, data)); err != nil {
			return Message{}, errEvent("envelope")
		}
		m.Headers = []Header{{headerContentType, []byte(contentTypeCloudEvent)}}
	default:
		return Message{}, errEvent("format")
	}
	if size(m) > MaxOutputBytes {
		return Message{}, ErrTooLarge
	}
	return m, nil
}

func size(m Message) int {
	n := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

func binaryHeaders(e Event) []Header {
	headers := make([]Header, 0, 13)
	add := func(name, value string) {
		if value != "" {
			headers = append(headers, Header{Key: name, Value: []byte(value)})
		}
	}
	add(headerContentType, contentTypeJSON)
	add("ce_specversion", specVersion)
	add("ce_id", e.ID)
	add("ce_source", e.Source)
	add("ce_type", e.Type)
	add("ce_subject", e.Subject)
	add("ce_time", e.Time.Format(time.RFC3339Nano))
	add("ce_dataschema", SchemaID(e.Type))
	add("ce_sequence", sequenceText(e.Sequence))
	add("ce_causationid", e.CausationID)
	add("ce_operationid", e.OperationID)
	add("ce_traceparent", e.TraceParent)
	add("ce_tracestate", e.TraceState)
	return headers
}

// sequenceText pads to a fixed width: CloudEvents compares sequences as texts.
func sequenceText(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%0*d", sequenceDigits, n)
}
