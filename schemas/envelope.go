package schemas

import (
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
		name := headerName(h.Key)
		slot := (*[]byte)(nil)
		switch attribute, isAttribute := strings.CutPrefix(name, headerPrefix); {
		case isAttribute && r.mode == modeBinary:
			slot = r.env.slot(attribute)
		case r.mode == modePlain && r.decoder.idHeader != "" && strings.EqualFold(h.Key, r.decoder.idHeader):
			slot, name = &r.env.id, strings.ToLower(r.decoder.idHeader)
		case name == headerTraceParent:
			r.transportParent = h.Value
		case name == headerTraceState:
			r.transportState = h.Value
		}
		if slot == nil || h.Value == nil {
			continue
		}
		if *slot != nil && fault == nil {
			fault = &Invalid{Reason: ReasonRepeatedHeader, Where: name}
		}
		if !utf8.Valid(h.Value) && fault == nil {
			fault = &Invalid{Reason: ReasonInvalidUTF8, Where: name}
		}
		*slot = h.Value
	}
	if fault == nil && !readable(r.mode, media) {
		fault = &Invalid{Reason: ReasonUnsupportedContentType, Where: headerContentType}
	}
	return fault
}

// findMode looks at the content type first, as CloudEvents wants it, then for
// any of its headers. What ce_ headers say beside a structured event is a copy
// at best and is not read.
func (r *reading) findMode(headers []Header) (media string, fault *Invalid) {
	seen := false
	for _, h := range headers {
		name := headerName(h.Key)
		if strings.HasPrefix(name, headerPrefix) && r.mode == modePlain {
			r.mode = modeBinary
		}
		if name != headerContentType || h.Value == nil {
			continue
		}
		var utf8Charset bool
		switch media, utf8Charset = mediaType(h.Value); {
		case fault != nil:
		case seen:
			fault = &Invalid{Reason: ReasonRepeatedHeader, Where: headerContentType}
		case !utf8.Valid(h.Value):
			fault = &Invalid{Reason: ReasonInvalidUTF8, Where: headerContentType}
		case !utf8Charset:
			fault = &Invalid{Reason: ReasonUnsupportedContentType, Where: headerContentType}
		}
		seen = true
		if media == mediaTypeCloudEvent {
			r.mode = modeStructured
		}
	}
	return media, fault
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
	fault := p.object(value, &members, "")
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
	if string(r.env.specVersion) != specVersion {
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
		return headerPrefix + name
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
	fault.Where = r.inside + fault.Where
	return fault
}

// headerName is a header's name in lower case where it is one that matters;
// headerPrefix alone for an attribute that is not read, else empty. It returns
// constants, since every header of every record comes through here.
func headerName(key string) string {
	var buffer [len("ce_specversion")]byte
	lower := buffer[:0]
	for i := 0; i < len(key) && i < cap(lower); i++ {
		c := key[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower = append(lower, c)
	}
	if len(lower) == len(key) {
		switch string(lower) {
		case headerContentType:
			return headerContentType
		case headerTraceParent:
			return headerTraceParent
		case headerTraceState:
			return headerTraceState
		case "ce_specversion":
			return "ce_specversion"
		case "ce_id":
			return "ce_id"
		case "ce_source":
			return "ce_source"
		case "ce_type":
			return "ce_type"
		case "ce_subject":
			return "ce_subject"
		case "ce_time":
			return "ce_time"
		case "ce_traceparent":
			return "ce_traceparent"
		case "ce_tracestate":
			return "ce_tracestate"
		}
	}
	if strings.HasPrefix(string(lower), headerPrefix) {
		return headerPrefix
	}
	return ""
}

// isAbsent tells whether an optional member is not there; null says so too.
func isAbsent(raw jsontext.Value) bool { return raw == nil || raw.Kind() == 'n' }
