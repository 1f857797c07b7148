package schemas_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/schemas"
)

func TestWherePlainJSONCarriesItsID(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{IDHeader: "X-Event-Id", IDMember: "event/id"})
	record := time.UnixMilli(1_790_000_000_000)
	for name, c := range map[string]struct {
		header []string
		member string
		id     string
		want   schemas.InvalidError
	}{
		"neither":              {},
		"header":               {header: []string{"h-1"}, id: "h-1"},
		"member":               {member: `"m-1"`, id: "m-1"},
		"integer":              {member: `12345678901234567890`, id: "12345678901234567890"},
		"both":                 {header: []string{"h-1"}, member: `"m-1"`, id: "h-1"},
		"empty header":         {header: []string{""}, member: `"m-1"`, id: "m-1"},
		"null":                 {member: `null`},
		"empty member":         {member: `""`},
		"header twice":         {header: []string{"a", "b"}, want: schemas.InvalidError{Reason: schemas.ReasonRepeatedHeader, Where: "x-event-id"}},
		"header not UTF-8":     {header: []string{"\xff"}, want: schemas.InvalidError{Reason: schemas.ReasonInvalidUTF8, Where: "x-event-id"}},
		"header too long":      {header: []string{strings.Repeat("i", 257)}, want: schemas.InvalidError{Reason: schemas.ReasonTooLong, Where: "x-event-id"}},
		"member of wrong type": {member: `[1]`, want: schemas.InvalidError{Reason: schemas.ReasonWrongType, Where: "/event~1id"}},
		"member with newline":  {member: `"a\nb"`, want: schemas.InvalidError{Reason: schemas.ReasonControlCharacter, Where: "/event~1id"}},
	} {
		m := plainMessage(schemas.TypeCodeEntered, `{"shopId":"s","activationCode":"1"}`)
		m.Time, m.Key = record, []byte("another")
		if c.member != "" {
			m.Value = []byte(`{"shopId":"s","activationCode":"1","event/id":` + c.member + `}`)
		}
		for _, value := range c.header {
			m.Headers = append(m.Headers, schemas.Header{Key: "x-event-ID", Value: []byte(value)})
		}
		in, err := d.Decode(m)
		if c.want.Reason != "" {
			invalid, ok := errors.AsType[*schemas.InvalidError](err)
			if !ok || invalid.Reason != c.want.Reason || invalid.Where != c.want.Where {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || in.ID != c.id || in.Source != "" || !in.Time.Equal(record) || !in.KeyDiffers {
			t.Errorf("%s: %v, id %q", name, err, in.ID)
		}
	}
	// The id of a dead letter comes from there too.
	m := plainMessage(schemas.TypeCodeEntered, `{"activationCode":"1","event/id":"m-1"}`)
	if _, err := d.Decode(m); err.(*schemas.InvalidError).EventID != "m-1" {
		t.Errorf("%v has no event id", err)
	}
	// CloudEvents have an id of their own; what plain JSON would carry is no id there.
	in, err := d.Decode(binaryMessage(schemas.TypeCodeEntered, `{"shopId":"shop-1","activationCode":"1","event/id":"m-1"}`, schemas.Header{Key: "X-Event-Id", Value: []byte("h-1")}))
	if err != nil || in.ID != "0192e1d0-7d4c-7b52-9b1f-6a0d2b4c8e11" {
		t.Errorf("%v, id %q", err, in.ID)
	}
}

func TestDecoderOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]schemas.DecoderOptions{
		"type of a result":       {Types: map[string]string{"t": schemas.TypeInvited}},
		"no topic":               {Types: map[string]string{"": schemas.TypeCodeEntered}},
		"id is the code":         {IDMember: "activationCode"},
		"id is the address":      {IDMember: "email"},
		"header of endless name": {IDHeader: strings.Repeat("h", 64)},
		"account empty":          {Accounts: []string{""}},
		"account too long":       {Accounts: []string{strings.Repeat("a", 65)}},
		"negative limit":         {MaxValueBytes: -1},
	} {
		if _, err := schemas.NewDecoder(o); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	d := decoder(t, schemas.DecoderOptions{Accounts: []string{"a"}, DefaultAccount: "b"})
	_, err := d.Decode(plainMessage(schemas.TypeCodeEntered, goodCode))
	if invalid, ok := errors.AsType[*schemas.InvalidError](err); !ok || invalid.Reason != schemas.ReasonUnknownAccount {
		t.Errorf("an event of a default account that nobody configured: %v", err)
	}
}

func TestTraceContext(t *testing.T) {
	const good, other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00"
	d := decoder(t, schemas.DecoderOptions{})
	for name, c := range map[string]struct{ ceParent, ceState, parent, state, wantParent, wantState string }{
		"none":               {},
		"event's":            {ceParent: good, ceState: "a=1", parent: other, state: "b=2", wantParent: good, wantState: "a=1"},
		"transport's":        {parent: other, state: "b=2", wantParent: other, wantState: "b=2"},
		"event's malformed":  {ceParent: "x", ceState: "a=1", parent: other, wantParent: other},
		"state malformed":    {ceParent: good, ceState: "shop@example.org", wantParent: good},
		"state with newline": {ceParent: good, ceState: "a=1\n", wantParent: good},
		"state alone":        {ceState: "a=1"},
		"zeros":              {ceParent: "00-00000000000000000000000000000000-00f067aa0ba902b7-01"},
		"upper case":         {ceParent: strings.ToUpper(good)},
		"version ff":         {ceParent: "ff" + good[2:]},
		"state of 32 pairs":  {ceParent: good, ceState: pairs(32), wantParent: good, wantState: pairs(32)},
		"state of 33 pairs":  {ceParent: good, ceState: pairs(33), wantParent: good},
		"key in upper case":  {ceParent: good, ceState: "A=1", wantParent: good},
		"state of 513 bytes": {ceParent: good, ceState: "a=" + strings.Repeat("b", 511), wantParent: good},
	} {
		m := binaryMessage(schemas.TypeCodeEntered, goodCode)
		for key, value := range map[string]string{"ce_traceparent": c.ceParent, "ce_tracestate": c.ceState, "traceparent": c.parent, "tracestate": c.state} {
			if value != "" {
				m.Headers = append(m.Headers, schemas.Header{Key: key, Value: []byte(value)})
			}
		}
		in, err := d.Decode(m)
		if err != nil || in.TraceParent != c.wantParent || in.TraceState != c.wantState {
			t.Errorf("%s: %v %q %q", name, err, in.TraceParent, in.TraceState)
		}
	}
}

func pairs(n int) string { return strings.TrimSuffix(strings.Repeat("a=1,", n), ",") }

func TestNormalisation(t *testing.T) {
	d := decoder(t, schemas.DecoderOptions{})
	in, err := d.Decode(plainMessage(schemas.TypeProviderSelected, `{"shopId":"s","provider":"invoicebox","email":"\t ИВАН.Owner+1@Пример.РФ "}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := in.Email.Reveal(); got != "ИВАН.Owner+1@Пример.РФ" {
		t.Errorf("what is sent: %q", got)
	}
	if got := schemas.NormalizeEmail(in.Email).Reveal(); got != "иван.owner+1@пример.рф" {
		t.Errorf("what is looked up: %q", got)
	}
	in, err = d.Decode(plainMessage(schemas.TypeCodeEntered, `{"shopId":"s","activationCode":" Ab 1\n"}`))
	if err != nil || schemas.NormalizeCode(in.Code).Reveal() != "Ab 1" {
		t.Errorf("%v: %q", err, in.Code.Reveal())
	}
}
