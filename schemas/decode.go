package schemas

import (
	"bytes"
	"encoding/base64"
	"strings"

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
		return Input{}, &InvalidError{Reason: ReasonUnknownTopic}
	}
	if len(m.Value) == 0 {
		return Input{}, &IgnoredError{Reason: IgnoreTombstone}
	}
	r := decodeState{decoder: d, typ: typ}
	in, ignored, fault := r.run(&m)
	switch {
	case ignored != nil:
		return Input{}, ignored
	case fault != nil:
		fault.EventID = r.safeID()
		fault.Account, fault.Shop = r.readableShop()
		fault.TraceParent, _ = r.traceContext()
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

// A decodeState is the state of decoding one record. Its byte slices point into
// the record.
type decodeState struct {
	decoder *Decoder
	typ     string // that the topic demands
	mode    mode
	prefix  string // of the headers that hold attributes
	inside  string // the pointer of the data inside the value
	env     envelope
	data    dataMembers
	// provider is that of an event for another one, without space around it.
	provider []byte
	// The trace context of the transport, for want of the event's own.
	transportParent, transportState []byte
}

func (r *decodeState) run(m *Message) (Input, *IgnoredError, *InvalidError) {
	fault := r.readHeaders(m.Headers)
	if len(m.Value) > r.decoder.maxValueBytes {
		return Input{}, nil, &InvalidError{Reason: ReasonTooLarge}
	}
	if fault != nil {
		return Input{}, nil, fault
	}
	value := withoutFrame(m.Value)
	data, fault := r.parse(value)
	if fault != nil {
		if hint := diagnose(m.Value, value, fault); hint != nil {
			return Input{}, nil, hint
		}
		if fault.Byte > 0 {
			fault.Byte += int64(len(m.Value) - len(value))
		}
		return Input{}, nil, fault
	}
	if hint := r.wrapped(); hint != nil {
		return Input{}, nil, hint
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
func (r *decodeState) parse(value []byte) (data []byte, fault *InvalidError) {
	p := acquireParser()
	defer p.release()
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
	r.data.idMember = r.decoder.idMember
	if data, fault = p.object(data, &r.data); fault != nil {
		return nil, r.prefixed(fault)
	}
	if r.mode == modePlain && r.isStructured() {
		r.mode, r.env, r.data = modeStructured, envelope{}, dataMembers{}
		return r.parse(value)
	}
	return data, nil
}

// isStructured recognises an event in structured mode that came without its
// content type. A flat object that has a specversion among its members stays plain.
func (r *decodeState) isStructured() bool {
	return r.data.specVersion != nil && (r.data.wrapperName == "data" || r.data.wrapperName == "data_base64" || r.data.shop == nil)
}

// otherProvider tells whether the event is someone else's business.
func (r *decodeState) otherProvider() (bool, *InvalidError) {
	raw := r.data.provider
	if isAbsent(raw) && r.typ == TypeCodeEntered {
		return false, nil
	}
	where := r.pointer(memberProvider)
	if raw == nil {
		return false, &InvalidError{Reason: ReasonMissing, Where: where}
	}
	if raw.Kind() != '"' {
		return false, &InvalidError{Reason: ReasonWrongType, Where: where}
	}
	if string(raw) == `"`+Provider+`"` {
		return false, nil
	}
	// Spelt with escapes, in capitals or with space around it.
	text := bytes.Trim(unquotedBytes(raw), trimSet)
	switch {
	case len(text) == len(Provider) && strings.EqualFold(string(text), Provider):
		return false, nil
	case len(text) == 0:
		return false, &InvalidError{Reason: ReasonEmpty, Where: where}
	}
	r.provider = text
	return true, nil
}

// ignored names the shop that chose another provider when that is certain. A
// code that was entered for another provider is no choice.
func (r *decodeState) ignored() *IgnoredError {
	out := &IgnoredError{Reason: IgnoreOtherProvider}
	if isNearMiss(r.provider) {
		out.NearMiss = string(r.provider)
	}
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
func (r *decodeState) input(m *Message, data []byte) (in Input, fault *InvalidError) {
	in.Type = r.typ
	if fault = r.identity(&in); fault != nil {
		return Input{}, fault
	}
	if in.Time, in.TimeDropped, fault = r.time(m.Time); fault != nil {
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
	in.TraceParent, in.TraceState = r.traceContext()
	in.KeyDiffers = len(m.Key) > 0 && string(m.Key) != in.Shop
	in.Content = content(r.typ, data)
	return in, nil
}

// traceContext is that of the event, or else that of the transport.
func (r *decodeState) traceContext() (parent, state string) {
	if parent, state = traceContext(r.env.traceParent, r.env.traceState); parent == "" {
		parent, state = traceContext(r.transportParent, r.transportState)
	}
	return parent, state
}

// content builds the canonical form that a digest covers. Integers keep their
// digits: as floating point numbers, two long shop ids would look the same.
func content(typ string, data []byte) Content {
	value := jsontext.Value(data).Clone()
	// The data was parsed already, so this cannot fail; were it to, the raw text
	// is as good a content, only less forgiving.
	_ = value.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
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
