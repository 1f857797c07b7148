package schemas

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	headerContentType = "content-type"
	headerTraceParent = "traceparent"
	headerTraceState  = "tracestate"
	headerPrefix      = "ce_"

	specVersion         = "1.0"
	mediaTypeCloudEvent = "application/cloudevents+json"
	mediaTypeBatch      = "application/cloudevents-batch+json"
)

// An envelope holds the attributes of CloudEvents as text, nil when absent. In
// plain mode only id (from the header for it) and the trace context are set.
type envelope struct {
	specVersion, id, source, typ, subject, time []byte
	traceParent, traceState                     []byte
}

// field is where the attribute of that name goes; nil when it is not read.
func (e *envelope) field(name string) *[]byte {
	switch name {
	case "specversion":
		return &e.specVersion
	case "id":
		return &e.id
	case "source":
		return &e.source
	case "type":
		return &e.typ
	case "subject":
		return &e.subject
	case "time":
		return &e.time
	case "traceparent":
		return &e.traceParent
	case "tracestate":
		return &e.traceState
	}
	return nil
}

// readHeaders finds the mode, and the attributes where they are in headers.
func (r *decodeState) readHeaders(headers []Header) *InvalidError {
	media, fault := r.findMode(headers)
	for _, h := range headers {
		prefix, name := headerName(h.Key)
		slot := (*[]byte)(nil)
		switch {
		case prefix != "" && prefix == r.prefix && r.mode == modeBinary:
			slot = r.env.field(name)
		case r.mode == modePlain && r.decoder.idHeader != "" && strings.EqualFold(h.Key, r.decoder.idHeader):
			slot, prefix, name = &r.env.id, "", strings.ToLower(r.decoder.idHeader)
		case prefix != "":
		case name == headerTraceParent:
			r.transportParent = headerValue(h.Value)
		case name == headerTraceState:
			r.transportState = headerValue(h.Value)
		}
		if slot == nil || h.Value == nil {
			continue
		}
		value := headerValue(h.Value)
		// The same value again says nothing else.
		if *slot != nil && fault == nil && !bytes.Equal(*slot, value) {
			fault = &InvalidError{Reason: ReasonRepeatedHeader, Where: prefix + name}
		}
		if !utf8.Valid(value) && fault == nil {
			fault = &InvalidError{Reason: ReasonInvalidUTF8, Where: prefix + name}
		}
		*slot = value
	}
	switch {
	case fault != nil || readable(r.mode, media):
	case media == mediaTypeBatch:
		fault = &InvalidError{Reason: ReasonBatch, Where: headerContentType}
	default:
		fault = &InvalidError{Reason: ReasonUnsupportedContentType, Where: headerContentType}
	}
	return fault
}

// findMode looks at the content type first, as CloudEvents wants it, then for
// any of its headers. Attributes beside a structured event are a copy
// at best and are not read.
func (r *decodeState) findMode(headers []Header) (media string, fault *InvalidError) {
	seen := false
	for _, h := range headers {
		prefix, name := headerName(h.Key)
		if prefix != "" {
			r.preferPrefix(prefix, name, h.Value)
			continue
		}
		isType := name == headerContentType
		if !isType && name != contentTypeAlias || h.Value == nil {
			continue
		}
		value := headerValue(h.Value)
		was := media
		now, utf8Charset := mediaType(value)
		if !isType {
			// Some libraries misspell the name. It counts only where it is about CloudEvents.
			if media == "" && strings.HasPrefix(now, "application/cloudevents") {
				media = now
			}
			continue
		}
		media = now
		switch {
		case fault != nil:
		case seen && was != now:
			fault = &InvalidError{Reason: ReasonRepeatedHeader, Where: headerContentType}
		case !utf8.Valid(value):
			fault = &InvalidError{Reason: ReasonInvalidUTF8, Where: headerContentType}
		case !utf8Charset:
			fault = &InvalidError{Reason: ReasonUnsupportedContentType, Where: headerContentType}
		}
		seen = true
	}
	switch {
	case media == mediaTypeCloudEvent || media == "application/cloudevents":
		r.mode = modeStructured
	case r.prefix != "":
		r.mode = modeBinary
	}
	return media, fault
}

// preferPrefix chooses whose attributes are read. Those of the Kafka binding come
// first and need no more than one header. A prefix of another transport counts
// with a specversion: other headers may begin so too.
func (r *decodeState) preferPrefix(prefix, name string, value []byte) {
	if prefix == headerPrefix || r.prefix == "" && name == "specversion" && value != nil {
		r.prefix = prefix
	}
}

// headerValue is a header's value without the quotes that older versions of
// Spring put around every text.
func headerValue(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return value
	}
	text, err := jsontext.AppendUnquote(make([]byte, 0, len(value)), value)
	if err != nil {
		return value
	}
	return text
}

// readable tells whether a media type promises what the mode needs. CloudEvents
// in another format than JSON, or in batches, are not read. Plain JSON is read
// whatever its type says, since many producers say something else.
func readable(m mode, media string) bool {
	switch {
	case m == modeStructured:
		return true
	case strings.HasPrefix(media, "application/cloudevents"):
		return false
	}
	return m == modePlain || media == "" || isJSON(media)
}

func isJSON(media string) bool {
	return media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}

// mediaType splits a content type into its lower-case type and whether its
// charset, if it names one, is UTF-8.
func mediaType(value []byte) (media string, utf8Charset bool) {
	media, parameters, _ := strings.Cut(string(value), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, charset, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "charset") {
			continue
		}
		switch strings.ToLower(strings.Trim(strings.TrimSpace(charset), `"`)) {
		case "utf-8", "utf8", "us-ascii":
		default:
			return media, false
		}
	}
	return media, true
}

// readStructured reads the attributes from the value and returns the data.
func (r *decodeState) readStructured(p *parser, value []byte) ([]byte, *InvalidError) {
	r.inside = "/data"
	var members envelopeMembers
	_, fault := p.object(value, &members)
	// After a fault too: the id may have been read before it.
	for i, name := range attributeNames {
		switch raw := members.attributes[i]; {
		case isAbsent(raw):
		case raw.Kind() == '"':
			*r.env.field(name) = unquotedBytes(raw)
		case fault == nil && !strings.HasPrefix(name, "trace"):
			fault = &InvalidError{Reason: ReasonWrongType, Where: "/" + name}
		}
	}
	if fault != nil {
		return nil, fault
	}
	if fault = r.checkHead(); fault != nil {
		return nil, fault
	}
	return r.structuredData(&members)
}

func (r *decodeState) structuredData(members *envelopeMembers) ([]byte, *InvalidError) {
	if raw := members.contentType; !isAbsent(raw) {
		if raw.Kind() != '"' {
			return nil, &InvalidError{Reason: ReasonWrongType, Where: "/datacontenttype"}
		}
		if media, ok := mediaType([]byte(unquote(raw))); !ok || !isJSON(media) {
			return nil, &InvalidError{Reason: ReasonUnsupportedContentType, Where: "/datacontenttype"}
		}
	}
	if isAbsent(members.base64) {
		if members.data == nil {
			return nil, &InvalidError{Reason: ReasonMissing, Where: "/data"}
		}
		if isEncodedJSON(members.data) {
			return nil, &InvalidError{Reason: ReasonDoubleEncoded, Where: "/data"}
		}
		return members.data, nil
	}
	if !isAbsent(members.data) {
		return nil, &InvalidError{Reason: ReasonConflict, Where: "/data_base64"}
	}
	if members.base64.Kind() != '"' {
		return nil, &InvalidError{Reason: ReasonWrongType, Where: "/data_base64"}
	}
	data, ok := fromBase64(members.base64)
	if !ok {
		return nil, &InvalidError{Reason: ReasonMalformed, Where: "/data_base64"}
	}
	// What is wrong inside has no pointer of its own: say the member it came in.
	r.inside = "/data_base64"
	return data, nil
}

// checkHead checks what says how to read the rest.
func (r *decodeState) checkHead() *InvalidError {
	if r.env.specVersion == nil {
		return &InvalidError{Reason: ReasonMissing, Where: r.attribute("specversion")}
	}
	if !isVersion1(r.env.specVersion) {
		return &InvalidError{Reason: ReasonUnsupportedVersion, Where: r.attribute("specversion")}
	}
	if r.env.typ == nil {
		return &InvalidError{Reason: ReasonMissing, Where: r.attribute("type")}
	}
	if string(r.env.typ) != r.typ {
		return &InvalidError{Reason: ReasonTypeDiffers, Where: r.attribute("type")}
	}
	return nil
}

// isVersion1 takes 1.0 and its patch releases, which CloudEvents does not put
// into events and some producers do.
func isVersion1(version []byte) bool {
	patch, found := bytes.CutPrefix(version, []byte(specVersion))
	if !found || len(patch) == 0 {
		return found
	}
	return patch[0] == '.' && len(patch) > 1 && len(bytes.Trim(patch[1:], "0123456789")) == 0
}

// required checks an attribute that must be there.
func (r *decodeState) required(value []byte, name string, maxBytes int) *InvalidError {
	if value == nil {
		return &InvalidError{Reason: ReasonMissing, Where: r.attribute(name)}
	}
	if reason := checkText(string(value), maxBytes); reason != "" {
		return &InvalidError{Reason: reason, Where: r.attribute(name)}
	}
	return nil
}

// attribute is where an attribute stands.
func (r *decodeState) attribute(name string) string {
	if r.mode == modeBinary {
		return r.prefix + name
	}
	return "/" + name
}

// pointer is where a member of the data stands.
func (r *decodeState) pointer(member string) string {
	if r.inside == "/data_base64" {
		return r.inside
	}
	return r.inside + "/" + member
}

// prefixed moves a fault inside the data to where the data is in the value.
func (r *decodeState) prefixed(fault *InvalidError) *InvalidError {
	if r.inside == "/data_base64" {
		return &InvalidError{Reason: fault.Reason, Where: r.inside}
	}
	if r.inside != "" {
		fault.Byte = 0 // it counts from the data's begin
	}
	fault.Where = r.inside + fault.Where
	return fault
}

// isAbsent tells whether an optional member is not there; null says so too.
func isAbsent(raw jsontext.Value) bool { return raw == nil || raw.Kind() == 'n' }
