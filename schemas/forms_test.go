package schemas_test

import (
	"encoding/base64"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"invoicebox-worker/schemas"
)

func decoder(t testing.TB, o schemas.DecoderOptions) *schemas.Decoder {
	t.Helper()
	d, err := schemas.NewDecoder(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func binaryMessage(typ, data string, extra ...schemas.Header) schemas.Message {
	return schemas.Message{
		Topic: typ, Partition: 3, Offset: 42, Time: time.UnixMilli(1_790_000_000_000), Key: []byte("shop-1"), Value: []byte(data),
		Headers: append([]schemas.Header{
			{Key: "content-type", Value: []byte("application/json")},
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte("0192e1d0-7d4c-7b52-9b1f-6a0d2b4c8e11")},
			{Key: "ce_source", Value: []byte("/platform/settings")},
			{Key: "ce_type", Value: []byte(typ)},
			{Key: "ce_subject", Value: []byte("shop-1")},
			{Key: "ce_time", Value: []byte("2026-11-20T10:00:00Z")},
		}, extra...),
	}
}

func structuredMessage(typ, data string) schemas.Message {
	return schemas.Message{
		Topic: typ, Key: []byte("shop-1"), Headers: []schemas.Header{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")}},
		Value: []byte(`{"specversion":"1.0","id":"e-1","source":"/platform","type":"` + typ + `","subject":"shop-1","time":"2026-11-20T10:00:00Z","data":` + data + `}`),
	}
}

func plainMessage(typ, data string) schemas.Message {
	return schemas.Message{Topic: typ, Value: []byte(data)}
}

const (
	goodSelection  = `{"shopId":"shop-1","provider":"invoicebox","email":"shop@example.org","partnerAccount":"default"}`
	otherSelection = `{"shopId":"shop-1","provider":"somebank","email":"shop@example.org","partnerAccount":"default"}`
	goodCode       = `{"shopId":"shop-1","activationCode":"143232423434"}`
)

// formsOf lays the same data out in each way that is read, with no subject.
func formsOf(typ, data string) map[string]schemas.Message {
	const registry = "\x00\x00\x00\x01\x02"
	binary := binaryMessage(typ, data)
	binary.Headers = slices.DeleteFunc(binary.Headers, func(h schemas.Header) bool { return h.Key == "ce_subject" })
	registered := binary
	registered.Value = []byte(registry + data)
	structured := structuredMessage(typ, data)
	structured.Value = []byte(`{"data":` + data + `,"specversion":"1.0","id":"e-1","source":"/platform","type":"` + typ + `"}`)
	encoded := structured
	encoded.Value = []byte(`{"specversion":"1.0","id":"e-1","source":"/platform","type":"` + typ + `","data_base64":"` + base64.StdEncoding.EncodeToString([]byte(data)) + `"}`)
	return map[string]schemas.Message{
		"plain": plainMessage(typ, data), "plain, registry": plainMessage(typ, registry+data),
		"binary": binary, "binary, registry": registered, "structured": structured, "base64": encoded,
	}
}

// messagesOf gives the same data in each form that is read.
func messagesOf(typ, data string) map[string]schemas.Message {
	wired := plainMessage(typ, "\x00\x00\x00\x00\x07"+data)
	return map[string]schemas.Message{
		"binary": binaryMessage(typ, data), "structured": structuredMessage(typ, data), "plain": plainMessage(typ, data), "registry": wired,
	}
}

// sorted walks a map in the order of its keys.
func sorted(members map[string]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, name := range slices.Sorted(maps.Keys(members)) {
			if !yield(name, members[name]) {
				return
			}
		}
	}
}
