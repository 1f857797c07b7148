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

// slot is where the attribute of that name goes; nil when it is not read.
func (e *envelope) slot(name string) *[]byte {
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
func (r *reading) readHeaders(headers []Header) *Invalid {
	media, fault := r.findMode(headers)
	for _, h := range headers {
		prefix, name := headerName(h.Key)
		slot := (*[]byte)(nil)
		switch {
		case prefix != "" && prefix == r.prefix && r.mode == modeBinary:
			slot = r.env.slot(name)
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
			fault = &Invalid{Reason: ReasonRepeatedHeader, Where: prefix + name}
		}
		if !utf8.Valid(value) && fault == nil {
			fault = &Invalid{Reason: ReasonInvalidUTF8, Where: prefix + name}
		}
		*slot = value
	}
	switch {
	case fault != nil || readable(r.mode, media):
	case media == mediaTypeBatch:
		fault = &Invalid{Reason: ReasonBatch, Where: headerContentType}
	default:
		fault = &Invalid{Reason: ReasonUnsupportedContentType, Where: headerContentType}
	}
	return fault
}

// findMode looks at the content type first, as CloudEvents wants it, then for
// any of its headers. Attributes beside a structured event are a copy
// at best and are not read.
func (r *reading) findMode(headers []Header) (media string, fault *Invalid) {
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
			fault = &Invalid{Reason: ReasonRepeatedHeader, Where: headerContentType}
		case !utf8.Valid(value):
			fault = &Invalid{Reason: ReasonInvalidUTF8, Where: headerContentType}
		case !utf8Charset:
			fault = &Invalid{Reason: ReasonUnsupportedContentType, Where: headerContentType}
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
func (r *reading) preferPrefix(prefix, name string, value []byte) {
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
func (r *reading) readStructured(p *parser, value []byte) ([]byte, *Invalid) {
	r.inside = "/data"
	var members envelopeMembers
	_, fault := p.object(value, &members)
	// After a fault too: the id may have been read before it.
	for i, name := range attributeNames {
		switch raw := members.attributes[i]; {
		case isAbsent(raw):
		case raw.Kind() == '"':
			*r.env.slot(name) = unquotedBytes(raw)
		case fault == nil && !strings.HasPrefix(name, "trace"):
			fault = &Invalid{Reason: ReasonWrongType, Where: "/" + name}
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

func (r *reading) structuredData(members *envelopeMembers) ([]byte, *Invalid) {
	if raw := members.contentType; !isAbsent(raw) {
		if raw.Kind() != '"' {
			return nil, &Invalid{Reason: ReasonWrongType, Where: "/datacontenttype"}
		}
		if media, ok := mediaType([]byte(unquoted(raw))); !ok || !isJSON(media) {
			return nil, &Invalid{Reason: ReasonUnsupportedContentType, Where: "/datacontenttype"}
		}
	}
	if isAbsent(members.base64) {
		if members.data == nil {
			return nil, &Invalid{Reason: ReasonMissing, Where: "/data"}
		}
		if isEncodedJSON(members.data) {
			return nil, &Invalid{Reason: ReasonDoubleEncoded, Where: "/data"}
		}
		return members.data, nil
	}
	if !isAbsent(members.data) {
		return nil, &Invalid{Reason: ReasonConflict, Where: "/data_base64"}
	}
	if members.base64.Kind() != '"' {
		return nil, &Invalid{Reason: ReasonWrongType, Where: "/data_base64"}
	}
	data, ok := fromBase64(members.base64)
	if !ok {
		return nil, &Invalid{Reason: ReasonMalformed, Where: "/data_base64"}
	}
	// What is wrong inside has no pointer of its own: say the member it came in.
	r.inside = "/data_base64"
	return data, nil
}

// checkHead checks what says how to read the rest.
func (r *reading) checkHead() *Invalid {
	if r.env.specVersion == nil {
		return &Invalid{Reason: ReasonMissing, Where: r.attribute("specversion")}
	}
	if !isVersion1(r.env.specVersion) {
		return &Invalid{Reason: ReasonUnsupportedVersion, Where: r.attribute("specversion")}
	}
	if r.env.typ == nil {
		return &Invalid{Reason: ReasonMissing, Where: r.attribute("type")}
	}
	if string(r.env.typ) != r.typ {
		return &Invalid{Reason: ReasonTypeDiffers, Where: r.attribute("type")}
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
func (r *reading) required(value []byte, name string, maxBytes int) *Invalid {
	if value == nil {
		return &Invalid{Reason: ReasonMissing, Where: r.attribute(name)}
	}
	if reason := textFault(string(value), maxBytes); reason != "" {
		return &Invalid{Reason: reason, Where: r.attribute(name)}
	}
	return nil
}

// attribute is where an attribute stands.
func (r *reading) attribute(name string) string {
	if r.mode == modeBinary {
		return r.prefix + name
	}
	return "/" + name
}

// at is where a member of the data stands.
func (r *reading) at(member string) string {
	if r.inside == "/data_base64" {
		return r.inside
	}
	return r.inside + "/" + member
}

// within moves a fault inside the data to where the data is in the value.
func (r *reading) within(fault *Invalid) *Invalid {
	if r.inside == "/data_base64" {
		return &Invalid{Reason: fault.Reason, Where: r.inside}
	}
	if r.inside != "" {
		fault.Byte = 0 // it counts from the data's begin
	}
	fault.Where = r.inside + fault.Where
	return fault
}

// isAbsent tells whether an optional member is not there; null says so too.
func isAbsent(raw jsontext.Value) bool { return raw == nil || raw.Kind() == 'n' }
