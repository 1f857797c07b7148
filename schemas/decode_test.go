package schemas_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"invoicebox-worker/schemas"
)

func TestAnEventIsReadWhole(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{Accounts: []string{"default", "second"}})
	const data = `{ "shopId":"shop-1", "provider":"invoicebox", "email":" Owner@Shop.Example ", "partnerAccount":"second", "z":1.50, "a":12345678901234567890 }`
	m := binaryMessage(schemas.TypeProviderSelected, data,
		schemas.Header{Key: "ce_traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")},
		schemas.Header{Key: "ce_tracestate", Value: []byte("a=1,b=2")})
	in, err := d.Decode(m)
	if err != nil {
		t.Fatal(err)
	}
	if in.Email.Reveal() != "Owner@Shop.Example" || !in.Code.IsZero() {
		t.Error("the address is another")
	}
	const content = `{"data":{"a":12345678901234567890,"email":" Owner@Shop.Example ","partnerAccount":"second","provider":"invoicebox","shopId":"shop-1","z":1.5},"type":"shop.payment_provider_selected"}`
	if string(in.Content) != content {
		t.Errorf("content: %s", string(in.Content))
	}
	got := fmt.Sprint(in.Type, in.Source, in.ID, in.Time, in.Account, in.Shop, in.TraceParent, in.TraceState, in.KeyDiffers)
	want := fmt.Sprint(schemas.TypeProviderSelected, "/platform/settings", "0192e1d0-7d4c-7b52-9b1f-6a0d2b4c8e11",
		time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC), "second", "shop-1", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1,b=2", false)
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		if text := fmt.Sprintf(verb, in) + fmt.Sprintf(verb, in.Content); strings.Contains(text, "Shop.Example") || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", "Shop.Example")) {
			t.Errorf("%s prints the address", verb)
		}
	}
	// The same content in another layout is the same content.
	m.Value = []byte(`{"email":" Owner\u0040Shop.Example ","a":12345678901234567890,"shopId":"shop-1","provider":"invoicebox","partnerAccount":"second","z":15e-1}`)
	again, err := d.Decode(m)
	if err != nil || string(again.Content) != content {
		t.Errorf("%v: %s", err, string(again.Content))
	}
	// A record that is reused must not change what was read.
	for i := range m.Value {
		m.Value[i] = 'x'
	}
	if string(again.Content) != content || again.Shop != "shop-1" || again.Email.Reveal() != "Owner@Shop.Example" {
		t.Error("an input shares memory with its record")
	}
}

// A long integer must not lose digits on its way through floating point.
func TestLongIntegersStayApart(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{})
	var seen []string
	for _, shop := range []string{"90071992547409930", "90071992547409931"} {
		in, err := d.Decode(plainMessage(schemas.TypeCodeEntered, `{"shopId":`+shop+`,"activationCode":`+shop+`}`))
		if err != nil || in.Shop != shop || in.Code.Reveal() != shop {
			t.Fatalf("%v: %q", err, in.Shop)
		}
		seen = append(seen, string(in.Content))
	}
	if seen[0] == seen[1] {
		t.Error("two shops have the same content")
	}
}

func TestHeaders(t *testing.T) {
	header := func(key, value string) func(*schemas.Message) {
		return func(m *schemas.Message) {
			m.Headers = append(m.Headers, schemas.Header{Key: key, Value: []byte(value)})
		}
	}
	replace := func(key, value string) func(*schemas.Message) {
		return func(m *schemas.Message) {
			for i := range m.Headers {
				if m.Headers[i].Key == key {
					m.Headers[i].Value = []byte(value)
				}
			}
		}
	}
	drop := func(key string) func(*schemas.Message) {
		return func(m *schemas.Message) {
			for i := range m.Headers {
				if m.Headers[i].Key == key {
					m.Headers[i].Value = nil // Kafka's null
				}
			}
		}
	}
	upper := func(m *schemas.Message) {
		for i := range m.Headers {
			m.Headers[i].Key = strings.ToUpper(m.Headers[i].Key)
		}
	}
	for name, c := range map[string]struct {
		change func(*schemas.Message)
		want   schemas.InvalidError // zero: accepted
	}{
		"as it is":                     {func(*schemas.Message) {}, schemas.InvalidError{}},
		"upper case":                   {upper, schemas.InvalidError{}},
		"no content type":              {drop("content-type"), schemas.InvalidError{}},
		"json of a vendor":             {replace("content-type", "Application/Vnd.Shop+JSON; Charset=\"UTF-8\""), schemas.InvalidError{}},
		"json in ASCII":                {replace("content-type", "text/json;charset=us-ascii"), schemas.InvalidError{}},
		"json in utf8":                 {replace("content-type", "application/json ; x=y; charset=utf8"), schemas.InvalidError{}},
		"no subject":                   {drop("ce_subject"), schemas.InvalidError{}},
		"subject not UTF-8":            {replace("ce_subject", "\xff"), schemas.InvalidError{Reason: schemas.ReasonInvalidUTF8, Where: "ce_subject"}},
		"no time":                      {drop("ce_time"), schemas.InvalidError{}},
		"strange extension":            {header("ce_partnerkey", "\xff"), schemas.InvalidError{}},
		"strange extension twice":      {func(m *schemas.Message) { header("ce_x", "1")(m); header("ce_x", "2")(m) }, schemas.InvalidError{}},
		"strange header":               {header("X-Request-Id-That-Is-Rather-Long", "\xff\x00"), schemas.InvalidError{}},
		"malformed trace":              {header("ce_traceparent", "00-marked-values-00"), schemas.InvalidError{}},
		"avro":                         {replace("content-type", "application/avro"), schemas.InvalidError{Reason: schemas.ReasonUnsupportedContentType, Where: "content-type"}},
		"utf-16":                       {replace("content-type", "application/json; charset=utf-16"), schemas.InvalidError{Reason: schemas.ReasonUnsupportedContentType, Where: "content-type"}},
		"content type twice":           {header("Content-Type", "text/json"), schemas.InvalidError{Reason: schemas.ReasonRepeatedHeader, Where: "content-type"}},
		"content type not UTF-8":       {replace("content-type", "application/json; x=\xff"), schemas.InvalidError{Reason: schemas.ReasonInvalidUTF8, Where: "content-type"}},
		"id twice":                     {header("CE_ID", "marked-value"), schemas.InvalidError{Reason: schemas.ReasonRepeatedHeader, Where: "ce_id"}},
		"type twice, not the same":     {header("ce_type", schemas.TypeProviderSelected), schemas.InvalidError{Reason: schemas.ReasonRepeatedHeader, Where: "ce_type"}},
		"id not UTF-8":                 {replace("ce_id", "marked\xff"), schemas.InvalidError{Reason: schemas.ReasonInvalidUTF8, Where: "ce_id"}},
		"id missing":                   {drop("ce_id"), schemas.InvalidError{Reason: schemas.ReasonMissing, Where: "ce_id"}},
		"id empty":                     {replace("ce_id", ""), schemas.InvalidError{Reason: schemas.ReasonEmpty, Where: "ce_id"}},
		"id of 10 kB":                  {replace("ce_id", strings.Repeat("i", 10_000)), schemas.InvalidError{Reason: schemas.ReasonTooLong, Where: "ce_id"}},
		"id with NUL":                  {replace("ce_id", "a\x00b"), schemas.InvalidError{Reason: schemas.ReasonControlCharacter, Where: "ce_id"}},
		"id of 256 bytes":              {replace("ce_id", strings.Repeat("я", 128)), schemas.InvalidError{}},
		"id of 257 bytes":              {replace("ce_id", strings.Repeat("я", 128)+"i"), schemas.InvalidError{Reason: schemas.ReasonTooLong, Where: "ce_id"}},
		"source missing":               {drop("ce_source"), schemas.InvalidError{Reason: schemas.ReasonMissing, Where: "ce_source"}},
		"source too long":              {replace("ce_source", strings.Repeat("s", 257)), schemas.InvalidError{Reason: schemas.ReasonTooLong, Where: "ce_source"}},
		"specversion 0.3":              {replace("ce_specversion", "0.3"), schemas.InvalidError{Reason: schemas.ReasonUnsupportedVersion, Where: "ce_specversion"}},
		"specversion missing":          {drop("ce_specversion"), schemas.InvalidError{Reason: schemas.ReasonMissing, Where: "ce_specversion"}},
		"type of the other topic":      {replace("ce_type", schemas.TypeProviderSelected), schemas.InvalidError{Reason: schemas.ReasonTypeDiffers, Where: "ce_type"}},
		"type missing":                 {drop("ce_type"), schemas.InvalidError{Reason: schemas.ReasonMissing, Where: "ce_type"}},
		"subject of another shop":      {replace("ce_subject", "shop-2"), schemas.InvalidError{Reason: schemas.ReasonSubjectDiffers, Where: "ce_subject"}},
		"time nonsense":                {replace("ce_time", "marked-value"), schemas.InvalidError{Reason: schemas.ReasonMalformed, Where: "ce_time"}},
		"batch":                        {replace("content-type", "application/cloudevents-batch+json"), schemas.InvalidError{Reason: schemas.ReasonBatch, Where: "content-type"}},
		"structured, but bare data":    {replace("content-type", "application/cloudevents+json"), schemas.InvalidError{Reason: schemas.ReasonMissing, Where: "/specversion"}},
		"structured in another format": {replace("content-type", "application/cloudevents+avro"), schemas.InvalidError{Reason: schemas.ReasonUnsupportedContentType, Where: "content-type"}},
	} {
		m := binaryMessage(schemas.TypeCodeEntered, goodCode)
		c.change(&m)
		_, err := decoder(t, schemas.DecoderOptions{}).Decode(m)
		if c.want.Reason == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		invalid, ok := errors.AsType[*schemas.InvalidError](err)
		if !ok || invalid.Reason != c.want.Reason || invalid.Where != c.want.Where {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), "marked") {
			t.Errorf("%s: the error holds a value: %v", name, err)
		}
		if idIsGood := !strings.HasPrefix(name, "id ") && !strings.HasPrefix(name, "structured, but"); idIsGood != (invalid.EventID == "0192e1d0-7d4c-7b52-9b1f-6a0d2b4c8e11") && invalid.EventID != "marked-value" {
			t.Errorf("%s: event id %q", name, invalid.EventID)
		}
	}
}

func TestOtherProvidersAreIgnoredBeforeAnythingElse(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{})
	for name, c := range map[string]struct {
		data          string
		account, shop string
	}{
		"plain case":        {`{"shopId":"s","provider":"somebank"}`, "default", "s"},
		"number as shop id": {`{"provider":"somebank","shopId":17,"partnerAccount":"default"}`, "default", "17"},
		"no shop id":        {`{"provider":"somebank"}`, "", ""},
		"bad shop id":       {`{"provider":"somebank","shopId":"a\u0000b"}`, "", ""},
		"unknown account":   {`{"provider":"somebank","shopId":"s","partnerAccount":"nobody"}`, "", ""},
		"bad address":       {`{"provider":"somebank","shopId":"s","email":7}`, "default", "s"},
	} {
		for _, typ := range schemas.InputTypes() {
			for form, m := range formsOf(typ, c.data) {
				_, err := d.Decode(m)
				want := &schemas.IgnoredError{Reason: schemas.IgnoreOtherProvider}
				if typ == schemas.TypeProviderSelected { // a code is no choice of a provider
					want.Account, want.Shop = c.account, c.shop
				}
				ignored, _ := errors.AsType[*schemas.IgnoredError](err)
				if diff := cmp.Diff(want, ignored); diff != "" {
					t.Errorf("%s as %s of %s: %v %s", name, form, typ, err, diff)
				}
			}
		}
	}
	// A subject that differs leaves the shop in doubt; a missing id does not matter.
	m := binaryMessage(schemas.TypeProviderSelected, `{"shopId":"s","provider":"somebank"}`)
	_, err := d.Decode(m)
	if ignored, ok := errors.AsType[*schemas.IgnoredError](err); !ok || ignored.Shop != "" {
		t.Errorf("%v", err)
	}
	// The member can be spelt with escapes.
	if _, err := d.Decode(plainMessage(schemas.TypeProviderSelected, `{"shop\u0049d":"s","provider":"invoice\u0062ox","email":"a@b.example"}`)); err != nil {
		t.Errorf("escapes: %v", err)
	}
}

func TestTombstonesTopicsAndSizes(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{Types: map[string]string{"codes": schemas.TypeCodeEntered}, MaxValueBytes: 100})
	for _, value := range [][]byte{nil, {}} {
		_, err := d.Decode(schemas.Message{Topic: "codes", Value: value})
		if ignored, ok := errors.AsType[*schemas.IgnoredError](err); !ok || ignored.Reason != schemas.IgnoreTombstone {
			t.Errorf("%v", err)
		}
	}
	if in, err := d.Decode(plainMessage("codes", goodCode)); err != nil || in.Type != schemas.TypeCodeEntered {
		t.Errorf("renamed topic: %v", err)
	}
	for _, c := range []struct {
		m    schemas.Message
		want schemas.InvalidReason
	}{
		{plainMessage(schemas.TypeCodeEntered, goodCode), schemas.ReasonUnknownTopic},
		{plainMessage("codes", strings.Repeat("[", 101)), schemas.ReasonTooLarge},
		{plainMessage("codes", goodCode+strings.Repeat(" ", 101-len(goodCode))), schemas.ReasonTooLarge},
		{plainMessage("codes", "\x00\x00\x00\x00\x01"), schemas.ReasonNotJSON},
		{plainMessage("codes", "\x00\x00\x00"), schemas.ReasonNotJSON},
		{plainMessage("codes", strings.Repeat("[", 33)+strings.Repeat("]", 33)), schemas.ReasonTooDeep},
		{plainMessage("codes", `"`+strings.Repeat("[", 40)+`\"{"`), schemas.ReasonWrongType},
		{plainMessage("codes", `"\"`+strings.Repeat("[", 40)+`"`), schemas.ReasonWrongType},
		{plainMessage("codes", `{"x":`+strings.Repeat("[", 31)+strings.Repeat("]", 31)+"}"), schemas.ReasonMissing},
		{plainMessage("codes", "null"), schemas.ReasonWrongType},
		{plainMessage("codes", "[0"), schemas.ReasonNotJSON},
		{plainMessage("codes", "]"), schemas.ReasonNotJSON},
		{plainMessage("codes", `{"shopId":"\ud800","activationCode":"1"}`), schemas.ReasonInvalidUTF8},
		{plainMessage("codes", `{"shopId":-0,"activationCode":"1"}`), schemas.ReasonMalformed},
		{plainMessage("codes", `{"shopId":1e3,"activationCode":"1"}`), schemas.ReasonMalformed},
	} {
		_, err := d.Decode(c.m)
		if invalid, ok := errors.AsType[*schemas.InvalidError](err); !ok || invalid.Reason != c.want {
			t.Errorf("%.40q: %v, not %s", c.m.Value, err, c.want)
		}
	}
}

// Bytes count in a shop id and characters in an address.
func TestLimitsAreExact(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{})
	for _, c := range []struct {
		shop, code string
		good       bool
	}{
		{strings.Repeat("я", 64), "1", true},
		{strings.Repeat("я", 64) + "s", "1", false},
		{"s", strings.Repeat("🛒", 36), true},
		{"s", strings.Repeat("1", 37), false},
		{"s", " " + strings.Repeat("1", 36) + "\t", true},
	} {
		_, err := d.Decode(plainMessage(schemas.TypeCodeEntered, fmt.Sprintf(`{"shopId":%q,"activationCode":"%s"}`, c.shop, strings.ReplaceAll(c.code, "\t", `\t`))))
		if (err == nil) != c.good {
			t.Errorf("%d and %d bytes: %v", len(c.shop), len(c.code), err)
		}
	}
	for _, c := range []struct {
		local int
		good  bool
	}{{88, true}, {89, false}} {
		email := strings.Repeat("ж", c.local) + "@shop.exampl"
		_, err := d.Decode(plainMessage(schemas.TypeProviderSelected, fmt.Sprintf(`{"shopId":"s","provider":"invoicebox","email":%q}`, email)))
		if (err == nil) != c.good {
			t.Errorf("%d characters: %v", c.local+12, err)
		}
	}
}

// The place of a fault counts from the record's first byte.
func TestPlaces(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{})
	for _, registry := range []string{"", "\x00\x00\x00\x00\x07"} {
		_, err := d.Decode(plainMessage(schemas.TypeCodeEntered, registry+`{"shopId":?}`))
		if want := fmt.Sprintf("schemas: invalid event: not_json at /shopId near byte %d", len(registry)+10); err == nil || err.Error() != want {
			t.Errorf("%v, not %s", err, want)
		}
	}
}
