package schemas

import (
	"bytes"
	"encoding/base64"

	"github.com/go-json-experiment/json/jsontext"

	"invoicebox-worker/internal/secret"
)

// Decode reads one record. The error is an [*Invalid] (a dead letter) or an
// [*Ignored] (to be counted), and nothing else. No result shares memory with
// the message.
//
// An event for another provider is recognised before its other members are
// looked at: of it only the form is checked (headers, specversion, type, JSON).
func (d *Decoder) Decode(m Message) (Input, error) {
	typ, ok := d.types[m.Topic]
	if !ok {
		return Input{}, &Invalid{Reason: ReasonUnknownTopic}
	}
	if len(m.Value) == 0 {
		return Input{}, &Ignored{Reason: IgnoreTombstone}
	}
	r := reading{decoder: d, typ: typ}
	in, ignored, fault := r.run(&m)
	switch {
	case ignored != nil:
		return Input{}, ignored
	case fault != nil:
		fault.EventID = r.safeID()
		return Input{}, fault
	}
	return in, nil
}

// A mode is how an event is laid out in a record.
type mode int

const (
	modePlain mode = iota
	modeBinary
	modeStructured
)

// A reading is the state of decoding one record. Its byte slices point into
// the record.
type reading struct {
	decoder *Decoder
	typ     string // that the topic demands
	mode    mode
	inside  string // the pointer of the data inside the value
	env     envelope
	data    dataMembers
	// The trace context of the transport, for want of the event's own.
	transportParent, transportState []byte
}

func (r *reading) run(m *Message) (Input, *Ignored, *Invalid) {
	fault := r.readHeaders(m.Headers)
	if len(m.Value) > r.decoder.maxValueBytes {
		return Input{}, nil, &Invalid{Reason: ReasonTooLarge}
	}
	if fault != nil {
		return Input{}, nil, fault
	}
	value := withoutWireHeader(m.Value)
	data, fault := r.parse(value)
	if fault != nil {
		if fault.Byte > 0 {
			fault.Byte += int64(len(m.Value) - len(value))
		}
		return Input{}, nil, fault
	}
	other, fault := r.otherProvider()
	if fault != nil {
		return Input{}, nil, fault
	}
	if other {
		return Input{}, r.ignored(), nil
	}
	in, fault := r.input(m, data)
	return in, nil, fault
}

// parse reads the value's JSON and finds the data in it.
func (r *reading) parse(value []byte) (data []byte, fault *Invalid) {
	p := takeParser()
	defer p.giveBack()
	data = value
	switch r.mode {
	case modeBinary:
		fault = r.checkHead()
	case modeStructured:
		data, fault = r.readStructured(p, value)
	}
	if fault != nil {
		return nil, fault
	}
	if fault = p.object(data, &r.data, r.decoder.idMember); fault != nil {
		return nil, r.within(fault)
	}
	return data, nil
}

// withoutWireHeader drops the five bytes that a schema registry's serializer
// puts before the JSON. JSON never begins with a zero byte, so there is nothing
// to mistake.
func withoutWireHeader(value []byte) []byte {
	if value[0] == 0 && len(value) >= 5 {
		return value[5:]
	}
	return value
}

// otherProvider tells whether the event is someone else's business.
func (r *reading) otherProvider() (bool, *Invalid) {
	raw := r.data.provider
	if isAbsent(raw) && r.typ == TypeCodeEntered {
		return false, nil
	}
	where := r.at(memberProvider)
	if raw == nil {
		return false, &Invalid{Reason: ReasonMissing, Where: where}
	}
	if raw.Kind() != '"' {
		return false, &Invalid{Reason: ReasonWrongType, Where: where}
	}
	if string(raw) == `"`+Provider+`"` {
		return false, nil
	}
	switch unquoted(raw) {
	case Provider: // spelt with escapes
		return false, nil
	case "":
		return false, &Invalid{Reason: ReasonEmpty, Where: where}
	}
	return true, nil
}

// ignored names the shop that chose another provider when that is certain. A
// code that was entered for another provider is no choice.
func (r *reading) ignored() *Ignored {
	out := &Ignored{Reason: IgnoreOtherProvider}
	if r.typ != TypeProviderSelected {
		return out
	}
	shop, fault := r.shop()
	if fault != nil {
		return out
	}
	if account, fault := r.account(); fault == nil {
		out.Account, out.Shop = account, shop
	}
	return out
}

// input checks what is left and puts the event together.
func (r *reading) input(m *Message, data []byte) (in Input, fault *Invalid) {
	in.Type = r.typ
	if fault = r.identity(&in); fault != nil {
		return Input{}, fault
	}
	if in.Time, fault = r.time(m.Time); fault != nil {
		return Input{}, fault
	}
	if in.Shop, fault = r.shop(); fault != nil {
		return Input{}, fault
	}
	if in.Account, fault = r.account(); fault != nil {
		return Input{}, fault
	}
	var value string
	switch r.typ {
	case TypeProviderSelected:
		value, fault = r.email()
		in.Email = secret.New(value)
	case TypeCodeEntered:
		value, fault = r.code()
		in.Code = secret.New(value)
	}
	if fault != nil {
		return Input{}, fault
	}
	in.TraceParent, in.TraceState = traceContext(r.env.traceParent, r.env.traceState)
	if in.TraceParent == "" {
		in.TraceParent, in.TraceState = traceContext(r.transportParent, r.transportState)
	}
	in.KeyDiffers = len(m.Key) > 0 && string(m.Key) != in.Shop
	in.Content = content(r.typ, data)
	return in, nil
}

// content builds the canonical form that a digest covers. Integers keep their
// digits: as floating point numbers, two long shop ids would look the same.
func content(typ string, data []byte) Content {
	value := jsontext.Value(data).Clone()
	// The data was parsed already, so this cannot fail; were it to, the raw text
	// is as good a content, only less forgiving.
	_ = value.Canonicalize(jsontext.CanonicalizeRawInts(false))
	out := make([]byte, 0, len(value)+len(typ)+20)
	out = append(append(out, `{"data":`...), value...)
	out = append(append(out, `,"type":"`...), typ...)
	return append(out, `"}`...)
}

// fromBase64 reads data_base64, on one line and padded.
func fromBase64(raw jsontext.Value) ([]byte, bool) {
	text := unquotedBytes(raw)
	data := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(data, text)
	return data[:n], err == nil && !bytes.ContainsAny(text, "\r\n")
}
