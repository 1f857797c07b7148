package schemas_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"invoicebox-worker/schemas"
)

// A shape is a form of a record that some producer writes, and the decision
// about it: it is taken where it can mean one thing only, else the reason and
// the place name what is odd about it.
type shape struct {
	name    string
	value   string
	headers []string // name, value, name, value …; "\x00null" for Kafka's null
	key     string
	end     end
}

// An end is what becomes of a shape.
type end struct {
	reason schemas.InvalidReason // empty: taken
	where  string
	id     string // of what is taken
	ours   bool
}

const (
	selection   = `{"shopId":"shop-1","provider":"invoicebox","email":"shop@example.org"}`
	cloudEvent  = `{"specversion":"1.0","type":"shop.payment_provider_selected","source":"/platform","id":"e-1","time":"2026-11-20T10:00:00Z","datacontenttype":"application/json","data":` + selection + `}`
	structured  = "application/cloudevents+json"
	nullHeader  = "\x00null"
	confluent   = "\x00\x00\x00\x00\x2a"
	uuidOfFrame = "0123456789abcdef"
)

// attributes are the headers of binary mode under a prefix, with changes.
func attributes(prefix string, changes ...string) []string {
	list := []string{
		"content-type", "application/json", prefix + "specversion", "1.0", prefix + "type", schemas.TypeProviderSelected,
		prefix + "source", "/platform", prefix + "id", "e-1", prefix + "time", "2026-11-20T10:00:00Z",
	}
	for i := 0; i < len(changes); i += 2 {
		found := false
		for j := 0; j < len(list); j += 2 {
			if list[j] == changes[i] {
				list[j+1], found = changes[i+1], true
			}
		}
		if !found {
			list = append(list, changes[i], changes[i+1])
		}
	}
	return list
}

func quotedAll(headers []string) []string {
	out := append([]string(nil), headers...)
	for i := 1; i < len(out); i += 2 {
		out[i] = `"` + out[i] + `"`
	}
	return out
}

func and(headers []string, more ...string) []string {
	return append(append([]string(nil), headers...), more...)
}

// with adds a member to the plain event.
func with(text string) string { return strings.TrimSuffix(selection, "}") + "," + text + "}" }

func enveloped(change, to string) string { return strings.Replace(cloudEvent, change, to, 1) }

func asJSON(text string) string { b, _ := json.Marshal(text); return string(b) }

func wide(text string, mark, little bool) string {
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	var out []byte
	for _, u := range units {
		if little {
			out = append(out, byte(u), byte(u>>8))
		} else {
			out = append(out, byte(u>>8), byte(u))
		}
	}
	return string(out)
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

func zlibbed(text string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

func takenAs(id string) end                                 { return end{id: id, ours: true} }
func deadAs(reason schemas.InvalidReason, where string) end { return end{reason: reason, where: where} }

func manyHeaders() []string {
	list := attributes("ce_")
	for i := range 10_000 {
		list = append(list, fmt.Sprintf("x-%d", i), "v")
	}
	return list
}

func shapes() []shape {
	ct := "content-type"
	plain, event := takenAs(""), takenAs("e-1")
	return []shape{
		// Structured mode.
		{name: "k00 structured, no content type", value: cloudEvent, end: event},
		{name: "k01 structured, content type application/json", value: cloudEvent, headers: []string{ct, "application/json"}, end: event},
		{name: "k02 structured, charset in the content type", value: cloudEvent, headers: []string{ct, structured + "; charset=utf-8"}, end: event},
		{name: "k03 structured, header in title case", value: cloudEvent, headers: []string{"Content-Type", structured}, end: event},
		{name: "k04 structured, header contentType", value: cloudEvent, headers: []string{"contentType", structured}, end: event},
		{name: "k05 structured, header content_type", value: cloudEvent, headers: []string{"content_type", structured}, end: event},
		{name: "k06 structured, content type quoted", value: cloudEvent, headers: []string{ct, `"` + structured + `"`}, end: event},
		{name: "structured, content type application/cloudevents", value: cloudEvent, headers: []string{ct, "application/cloudevents"}, end: event},
		{name: "structured, content type text/plain", value: cloudEvent, headers: []string{ct, "text/plain"}, end: event},
		{name: "structured, content type twice the same", value: cloudEvent, headers: []string{ct, structured, ct, structured + ";charset=utf-8"}, end: event},
		{name: "structured, no content type, byte order mark", value: "\xef\xbb\xbf" + cloudEvent, end: event},
		{name: "structured, no content type, data_base64", value: enveloped(`"data":`+selection, `"data_base64":"`+base64.StdEncoding.EncodeToString([]byte(selection))+`"`), end: event},
		{name: "structured, no content type, no data", value: `{"specversion":"1.0","type":"shop.payment_provider_selected","source":"/p","id":"e-1"}`, end: deadAs(schemas.ReasonMissing, "/data")},
		{name: "structured, no content type, version 0.3", value: enveloped(`"1.0"`, `"0.3"`), end: deadAs(schemas.ReasonUnsupportedVersion, "/specversion")},
		{name: "structured, specversion 1.0.2", value: enveloped(`"1.0"`, `"1.0.2"`), headers: []string{ct, structured}, end: event},
		{name: "structured, specversion 1.00", value: enveloped(`"1.0"`, `"1.00"`), headers: []string{ct, structured}, end: deadAs(schemas.ReasonUnsupportedVersion, "/specversion")},
		{name: "structured, specversion is a number", value: enveloped(`"1.0"`, `1.0`), headers: []string{ct, structured}, end: deadAs(schemas.ReasonWrongType, "/specversion")},
		{name: "plain with a specversion of its own", value: with(`"specversion":"7"`), end: plain},
		{name: "k28 structured, data is a text of JSON", value: enveloped(selection, asJSON(selection)), headers: []string{ct, structured}, end: deadAs(schemas.ReasonDoubleEncoded, "/data")},
		{name: "structured, data is a text", value: enveloped(selection, `"shop"`), headers: []string{ct, structured}, end: deadAs(schemas.ReasonWrongType, "/data")},
		{name: "k29 structured, extension with an object", value: enveloped(`"data":`, `"ext":{"a":1},"data":`), headers: []string{ct, structured}, end: event},
		{name: "structured, member twice inside an extension", value: enveloped(`"data":`, `"ext":{"a":1,"a":2},"data":`), headers: []string{ct, structured}, end: event},
		{name: "structured, id twice the same", value: enveloped(`"data":`, `"id":"e-1","data":`), headers: []string{ct, structured}, end: event},
		{name: "structured, id twice", value: enveloped(`"data":`, `"id":"e-2","data":`), headers: []string{ct, structured}, end: deadAs(schemas.ReasonDuplicateMember, "/id")},
		{name: "k30 structured, id is a number", value: enveloped(`"e-1"`, "5"), headers: []string{ct, structured}, end: deadAs(schemas.ReasonWrongType, "/id")},
		{name: "structured, time is a number", value: enveloped(`"2026-11-20T10:00:00Z"`, "1795946400000"), headers: []string{ct, structured}, end: deadAs(schemas.ReasonWrongType, "/time")},
		{name: "k27 a batch of one", value: "[" + cloudEvent + "]", headers: []string{ct, "application/cloudevents-batch+json"}, end: deadAs(schemas.ReasonBatch, ct)},
		{name: "a batch without its content type", value: "[" + cloudEvent + "]", end: deadAs(schemas.ReasonBatch, "")},
		{name: "a batch, header contentType", value: "[" + cloudEvent + "]", headers: []string{"contentType", "application/cloudevents-batch+json"}, end: deadAs(schemas.ReasonBatch, ct)},
		{name: "CloudEvents in Avro", value: "x", headers: []string{ct, "application/cloudevents+avro"}, end: deadAs(schemas.ReasonUnsupportedContentType, ct)},

		// Binary mode.
		{name: "k07 binary, content type quoted", value: selection, headers: attributes("ce_", ct, `"application/json"`), end: event},
		{name: "binary, every header quoted", value: selection, headers: quotedAll(attributes("ce_")), end: event},
		{name: "binary, quotes inside quotes", value: selection, headers: attributes("ce_", "ce_id", `"a\"b"`), end: takenAs(`a"b`)},
		{name: "binary, one quote", value: selection, headers: attributes("ce_", "ce_id", `"`), end: takenAs(`"`)},
		{name: "k09 binary, ce_datacontenttype", value: selection, headers: attributes("ce_", ct, nullHeader, "ce_datacontenttype", "application/json"), end: event},
		{name: "k10 binary, prefix ce-", value: selection, headers: attributes("ce-"), end: event},
		{name: "binary, prefix Ce-", value: selection, headers: attributes("Ce-"), end: event},
		{name: "k11 binary, prefix cloudEvents:", value: selection, headers: attributes("cloudEvents:"), end: event},
		{name: "binary, prefix cloudEvents_", value: selection, headers: attributes("cloudEvents_"), end: event},
		{name: "binary, prefix ce-, wrong type", value: selection, headers: attributes("ce-", "ce-type", "x"), end: deadAs(schemas.ReasonTypeDiffers, "ce-type")},
		{name: "binary, prefix cloudEvents:, no id", value: selection, headers: attributes("cloudEvents:", "cloudEvents:id", nullHeader), end: deadAs(schemas.ReasonMissing, "cloudevents:id")},
		{name: "two prefixes: that of Kafka counts", value: selection, headers: and(attributes("ce-", "ce-id", "other"), attributes("ce_")...), end: event},
		{name: "a header that begins with ce- only", value: selection, headers: []string{"ce-x", "1"}, end: plain},
		{name: "ce-id without specversion", value: selection, headers: []string{"ce-id", "e-1"}, end: plain},
		{name: "ce_id without specversion", value: selection, headers: []string{"ce_id", "e-1"}, end: deadAs(schemas.ReasonMissing, "ce_specversion")},
		{name: "k12 binary, null ce_subject and ce_dataschema", value: selection, headers: attributes("ce_", "ce_subject", nullHeader, "ce_dataschema", nullHeader), end: event},
		{name: "k13 binary, empty ce_subject", value: selection, headers: attributes("ce_", "ce_subject", ""), end: event},
		{name: "k15 binary, content type twice the same", value: selection, headers: and(attributes("ce_"), ct, "application/json"), end: event},
		{name: "binary, ce_id twice the same", value: selection, headers: and(attributes("ce_"), "CE_ID", "e-1"), end: event},
		{name: "binary, ce_id twice", value: selection, headers: and(attributes("ce_"), "ce_id", "e-2"), end: deadAs(schemas.ReasonRepeatedHeader, "ce_id")},
		{name: "binary, content type twice", value: selection, headers: and(attributes("ce_"), ct, "text/json"), end: deadAs(schemas.ReasonRepeatedHeader, ct)},
		{name: "k17 ce_time without a zone (Python)", value: selection, headers: attributes("ce_", "ce_time", "2026-11-20T10:00:00.123456"), end: event},
		{name: "k18 ce_time +0300 (PHP)", value: selection, headers: attributes("ce_", "ce_time", "2026-11-20T10:00:00+0300"), end: event},
		{name: "k20 ce_time without seconds (Java)", value: selection, headers: attributes("ce_", "ce_time", "2026-11-20T10:00Z"), end: event},
		{name: "ce_time with the zone's name (Java)", value: selection, headers: attributes("ce_", "ce_time", "2026-11-20T10:00:00+03:00[Europe/Moscow]"), end: event},
		{name: "k21 ce_time in milliseconds", value: selection, headers: attributes("ce_", "ce_time", "1795946400000"), end: deadAs(schemas.ReasonMalformed, "ce_time")},
		{name: "k22 specversion 1.0.2", value: selection, headers: attributes("ce_", "ce_specversion", "1.0.2"), end: event},
		{name: "specversion 1.1", value: selection, headers: attributes("ce_", "ce_specversion", "1.1"), end: deadAs(schemas.ReasonUnsupportedVersion, "ce_specversion")},
		{name: "specversion 1.0.x", value: selection, headers: attributes("ce_", "ce_specversion", "1.0.x"), end: deadAs(schemas.ReasonUnsupportedVersion, "ce_specversion")},
		{name: "k23 charset windows-1251", value: selection, headers: attributes("ce_", ct, "application/json; charset=windows-1251"), end: deadAs(schemas.ReasonUnsupportedContentType, ct)},
		{name: "k24 content type text/plain", value: selection, headers: attributes("ce_", ct, "text/plain"), end: deadAs(schemas.ReasonUnsupportedContentType, ct)},
		{name: "k25 content type application/octet-stream", value: selection, headers: attributes("ce_", ct, "application/octet-stream"), end: deadAs(schemas.ReasonUnsupportedContentType, ct)},
		{name: "binary, header contentType text/plain beside content-type", value: selection, headers: and(attributes("ce_"), "contentType", "text/plain"), end: event},
		{name: "k26 type with a suffix", value: selection, headers: attributes("ce_", "ce_type", schemas.TypeProviderSelected+".v1"), end: deadAs(schemas.ReasonTypeDiffers, "ce_type")},
		{name: "binary, the value is an event in structured mode", value: cloudEvent, headers: attributes("ce_"), end: deadAs(schemas.ReasonEnveloped, "/data")},

		// Plain JSON.
		{name: "k31 byte order mark", value: "\xef\xbb\xbf" + selection, end: plain},
		{name: "k33 UTF-16 LE with a mark", value: wide(selection, true, true), end: deadAs(schemas.ReasonUnsupportedEncoding, "")},
		{name: "UTF-16 BE with a mark", value: wide(selection, true, false), end: deadAs(schemas.ReasonUnsupportedEncoding, "")},
		{name: "UTF-16 LE", value: wide(selection, false, true), end: deadAs(schemas.ReasonUnsupportedEncoding, "")},
		{name: "UTF-16 BE", value: wide(selection, false, false), end: deadAs(schemas.ReasonUnsupportedEncoding, "")},
		{name: "k34 JSON in a text (Debezium's outbox)", value: asJSON(selection), end: deadAs(schemas.ReasonDoubleEncoded, "")},
		{name: "JSON in base64 in a text (Connect)", value: `"` + base64.StdEncoding.EncodeToString([]byte(selection)) + `"`, end: deadAs(schemas.ReasonDoubleEncoded, "")},
		{name: "JSON in base64", value: base64.StdEncoding.EncodeToString([]byte(selection)), end: deadAs(schemas.ReasonDoubleEncoded, "")},
		{name: "a text", value: `"shop"`, end: deadAs(schemas.ReasonWrongType, "")},
		{name: "a list of texts", value: `["shop"]`, end: deadAs(schemas.ReasonWrongType, "")},
		{name: "k35 Connect's envelope", value: `{"schema":{"type":"struct"},"payload":` + selection + `}`, end: deadAs(schemas.ReasonEnveloped, "/payload")},
		{name: "Connect's envelope around a text", value: `{"schema":{"type":"string"},"payload":` + asJSON(selection) + `}`, end: deadAs(schemas.ReasonEnveloped, "/payload")},
		{name: "k36 Debezium's envelope", value: `{"before":null,"after":` + selection + `,"source":{},"op":"c"}`, end: deadAs(schemas.ReasonEnveloped, "/after")},
		{name: "Amazon SNS", value: `{"Type":"Notification","Message":` + asJSON(selection) + `}`, end: deadAs(schemas.ReasonEnveloped, "/Message")},
		{name: "Amazon EventBridge", value: `{"detail-type":"x","detail":` + selection + `}`, end: deadAs(schemas.ReasonEnveloped, "/detail")},
		{name: "a webhook", value: `{"event":"selected","data":` + selection + `}`, end: deadAs(schemas.ReasonEnveloped, "/data")},
		{name: "structured, an envelope inside", value: enveloped(selection, `{"payload":`+selection+`}`), headers: []string{ct, structured}, end: deadAs(schemas.ReasonEnveloped, "/data/payload")},
		{name: "an event with a member payload", value: with(`"payload":{"a":1}`), end: plain},
		{name: "k37 trailing comma", value: strings.TrimSuffix(selection, "}") + ",}", end: deadAs(schemas.ReasonNotJSON, "")},
		{name: "k38 NaN in an unknown member", value: with(`"rate":NaN`), end: plain},
		{name: "Infinity deep inside an unknown member", value: with(`"a":[{"b":-Infinity},Infinity,"NaN \" NaN"]`), end: plain},
		{name: "NaN for a shop id", value: `{"shopId":NaN,"provider":"invoicebox","email":"shop@example.org"}`, end: deadAs(schemas.ReasonWrongType, "/shopId")},
		{name: "NaN and broken besides", value: with(`"rate":NaN,`), end: deadAs(schemas.ReasonNotJSON, "")},
		{name: "NaN in structured mode", value: enveloped(selection, with(`"rate":NaN`)), headers: []string{ct, structured}, end: event},
		{name: "k39 line break and blanks at the end", value: selection + " \r\n ", end: plain},
		{name: "k40 NUL at the end", value: selection + "\x00", end: deadAs(schemas.ReasonNotJSON, "")},
		{name: "k41 comment in front", value: "/*x*/" + selection, end: deadAs(schemas.ReasonNotJSON, "")},
		{name: "XML", value: "<event/>", end: deadAs(schemas.ReasonNotJSON, "")},
		{name: "a form", value: "shopId=shop-1&provider=invoicebox", end: deadAs(schemas.ReasonNotJSON, "")},
		{name: "k42 half a surrogate pair in an unknown member", value: with(`"note":"\ud83d"`), end: plain},
		{name: "half a surrogate pair in an unknown member's name", value: with(`"\udc00":1`), end: plain},
		{name: "half a surrogate pair in a member that is read", value: strings.Replace(selection, "shop-1", `shop-\ud83d`, 1), end: deadAs(schemas.ReasonInvalidUTF8, "/shopId")},
		{name: "a whole surrogate pair", value: strings.Replace(selection, "shop@", `\ud83d\ude00@`, 1), end: plain},
		{name: "raw surrogates (CESU-8)", value: with("\"note\":\"\xed\xa0\xbd\xed\xb8\x80\""), end: deadAs(schemas.ReasonInvalidUTF8, "")},
		{name: "Latin-1", value: with("\"note\":\"caf\xe9\""), end: deadAs(schemas.ReasonInvalidUTF8, "")},
		{name: "k44 shop id is a float", value: strings.Replace(selection, `"shop-1"`, "4711.0", 1), end: deadAs(schemas.ReasonMalformed, "/shopId")},
		{name: "k45 shop id over 2^63", value: strings.Replace(selection, `"shop-1"`, "18446744073709551617", 1), end: plain},
		{name: "bidirectional and invisible characters in a shop id", value: strings.Replace(selection, "shop-1", "shop\u202e-\u200b1", 1), end: plain},
		{name: "a control character in a shop id", value: strings.Replace(selection, "shop-1", `shop\u001b[2J`, 1), end: deadAs(schemas.ReasonControlCharacter, "/shopId")},
		{name: "k46 null partnerAccount", value: with(`"partnerAccount":null`), end: plain},
		{name: "k47 empty partnerAccount", value: with(`"partnerAccount":""`), end: deadAs(schemas.ReasonEmpty, "/partnerAccount")},
		{name: "k48 member twice inside an unknown one", value: with(`"x":{"a":1,"a":2}`), end: plain},
		{name: "unknown member twice", value: with(`"x":1,"x":2`), end: plain},
		{name: "shopId twice the same", value: with(`"shopId":"shop-1"`), end: plain},
		{name: "shopId twice", value: with(`"shopId":"shop-2"`), end: deadAs(schemas.ReasonDuplicateMember, "/shopId")},
		{name: "k49 snake_case", value: `{"shop_id":"shop-1","provider":"invoicebox","email":"shop@example.org"}`, end: deadAs(schemas.ReasonMissing, "/shopId")},
		{name: "k50 provider in capitals", value: strings.Replace(selection, "invoicebox", "Invoicebox", 1), end: plain},
		{name: "provider all in capitals, with space", value: strings.Replace(selection, "invoicebox", ` INVOICEBOX\n`, 1), end: plain},

		// Frames, keys and headers.
		{name: "k51 Confluent's frame", value: confluent + selection, end: plain},
		{name: "Confluent's frame and a byte order mark", value: confluent + "\xef\xbb\xbf" + selection, end: plain},
		{name: "Confluent's frame with a UUID", value: "\x01" + uuidOfFrame + selection, end: plain},
		{name: "Confluent's frame, Avro behind it", value: confluent + "\x0cshop-1\x14invoicebox", end: deadAs(schemas.ReasonUnsupportedFormat, "")},
		{name: "k52 Confluent's frame, structured", value: confluent + cloudEvent, headers: []string{ct, structured}, end: event},
		{name: "Confluent's frame, structured, no content type", value: confluent + cloudEvent, end: event},
		{name: "k53 Apicurio's frame, 8 bytes of id", value: "\x00\x00\x00\x00\x00\x00\x00\x00\x07" + selection, end: plain},
		{name: "k54 AWS Glue's frame", value: "\x03\x00" + uuidOfFrame + selection, end: plain},
		{name: "AWS Glue's frame, with zlib", value: "\x03\x05" + uuidOfFrame + zlibbed(selection), end: deadAs(schemas.ReasonCompressed, "")},
		{name: "AWS Glue's frame, Avro behind it", value: "\x03\x00" + uuidOfFrame + "\x0cshop-1\x00", end: deadAs(schemas.ReasonUnsupportedFormat, "")},
		{name: "k55 schema id in a header, key framed", value: selection, headers: []string{"__value_schema_id", "\x01" + uuidOfFrame}, key: confluent + "shop-1", end: plain},
		{name: "k56 key is a JSON text", value: selection, key: `"shop-1"`, end: plain},
		{name: "k57 key is null", value: selection, end: plain},
		{name: "k58 gzip", value: gzipped(selection), end: deadAs(schemas.ReasonCompressed, "")},
		{name: "zlib", value: zlibbed(selection), end: deadAs(schemas.ReasonCompressed, "")},
		{name: "zstd", value: "\x28\xb5\x2f\xfd\x04\x00", end: deadAs(schemas.ReasonCompressed, "")},
		{name: "gzip behind Confluent's frame", value: confluent + gzipped(selection), end: deadAs(schemas.ReasonCompressed, "")},
		{name: "gzip in structured mode", value: gzipped(cloudEvent), headers: []string{ct, structured}, end: deadAs(schemas.ReasonCompressed, "")},
		{name: "gzip in binary mode", value: gzipped(selection), headers: attributes("ce_"), end: deadAs(schemas.ReasonCompressed, "")},
		{name: "k59 10,000 headers", value: selection, headers: manyHeaders(), end: event},
		{name: "k60 one header of 700 kB", value: selection, headers: and(attributes("ce_"), "x-debug", strings.Repeat("v", 700_000)), end: event},
		{name: "nested too deep in an unknown member", value: with(`"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40)), end: deadAs(schemas.ReasonTooDeep, "")},
		{name: "too large", value: with(`"x":"` + strings.Repeat("x", 256<<10) + `"`), end: deadAs(schemas.ReasonTooLarge, "")},
	}
}

func (s shape) message() schemas.Message {
	m := schemas.Message{Topic: schemas.TypeProviderSelected, Value: []byte(s.value)}
	if s.key != "" {
		m.Key = []byte(s.key)
	}
	for i := 0; i < len(s.headers); i += 2 {
		h := schemas.Header{Key: s.headers[i], Value: []byte(s.headers[i+1])}
		if s.headers[i+1] == nullHeader {
			h.Value = nil
		}
		m.Headers = append(m.Headers, h)
	}
	return m
}

func TestShapes(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range shapes() {
		seen[s.name] = true
		t.Run(s.name, func(t *testing.T) {
			in, err := decoder(t, schemas.DecoderOptions{}).Decode(s.message())
			if s.end.ours {
				if err != nil || in.ID != s.end.id {
					t.Errorf("%v, id %q", err, in.ID)
				}
				return
			}
			invalid, ok := errors.AsType[*schemas.InvalidError](err)
			if !ok || invalid.Reason != s.end.reason || invalid.Where != s.end.where {
				t.Errorf("%v", err)
			}
		})
	}
	if len(seen) != len(shapes()) {
		t.Error("two shapes have one name")
	}
}

// Documentation and schema draw these sentences in tables.
func TestReasonsAreDescribed(t *testing.T) {
	for _, reason := range schemas.InvalidReasons() {
		meaning, remedy := schemas.DescribeInvalidReason(reason)
		for _, text := range []string{meaning, remedy} {
			if !strings.HasSuffix(text, ".") || strings.ContainsAny(text, "|\n") {
				t.Errorf("%s: %q is no sentence of a table", reason, text)
			}
		}
	}
	if meaning, _ := schemas.DescribeInvalidReason("other"); meaning != "" {
		t.Error("a word that is no reason has a meaning")
	}
}

func TestNearMisses(t *testing.T) {
	for provider, want := range map[string]bool{
		"invoice-box": true, "invoice_box": true, "Invoice Box": true, "InvoiceBox.ru": true, "invoicebox2": true, "invoicebox_v3": true,
		"invoicebx": true, "invocebox": true, "inviocebox": true, "invoicebos": true, "инвойсбокс": false, "invоicebоx": true,
		"somebank": false, "yookassa": false, "invoice": false, "inbox": false, "voicebox": true, "robokassa": false, "x": false,
		strings.Repeat("invoicebox", 5): false,
	} {
		_, err := decoder(t, schemas.DecoderOptions{}).Decode(plainMessage(schemas.TypeProviderSelected, `{"shopId":"s","provider":`+asJSON(provider)+`}`))
		ignored, ok := errors.AsType[*schemas.IgnoredError](err)
		if !ok || (ignored.NearMiss != "") != want || want && ignored.NearMiss != provider {
			t.Errorf("%s: %+v %v", provider, ignored, err)
		}
		if strings.Contains(err.Error(), provider) {
			t.Errorf("%s: the error holds it", provider)
		}
	}
}

// The shop of a dead letter is named where it can be read, from the data or from
// the subject.
func TestDeadLettersNameTheirShop(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{Accounts: []string{"default", "second"}})
	for name, c := range map[string]struct {
		m             schemas.Message
		account, shop string
	}{
		"data":              {plainMessage(schemas.TypeCodeEntered, `{"shopId":"s-1","partnerAccount":"second"}`), "second", "s-1"},
		"integer":           {plainMessage(schemas.TypeCodeEntered, `{"shopId":17}`), "default", "17"},
		"unknown account":   {plainMessage(schemas.TypeCodeEntered, `{"shopId":"s-1","partnerAccount":"other"}`), "", "s-1"},
		"before it breaks":  {plainMessage(schemas.TypeCodeEntered, `{"shopId":"s-1","activationCode":`), "default", "s-1"},
		"subject":           {binaryMessage(schemas.TypeCodeEntered, `{`), "default", "shop-1"},
		"not readable":      {plainMessage(schemas.TypeCodeEntered, `{"shopId":"a\u0000b"}`), "", ""},
		"no shop":           {plainMessage(schemas.TypeCodeEntered, `{`), "", ""},
		"structured":        {structuredMessage(schemas.TypeCodeEntered, `{"shopId":"shop-1"}`), "default", "shop-1"},
		"headers are wrong": {binaryMessage(schemas.TypeCodeEntered, goodCode, schemas.Header{Key: "ce_id", Value: []byte("other")}), "default", "shop-1"},
	} {
		_, err := d.Decode(c.m)
		invalid, ok := errors.AsType[*schemas.InvalidError](err)
		if !ok || invalid.Account != c.account || invalid.Shop != c.shop {
			t.Errorf("%s: %+v", name, invalid)
		}
	}
}
