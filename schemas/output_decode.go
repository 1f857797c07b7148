package schemas

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// structured is a published event in structured mode.
type structured struct {
	SpecVersion     string         `json:"specversion"`
	ID              string         `json:"id"`
	Source          string         `json:"source"`
	Type            string         `json:"type"`
	Subject         string         `json:"subject"`
	Time            string         `json:"time"`
	DataContentType string         `json:"datacontenttype,omitempty"`
	DataSchema      string         `json:"dataschema,omitempty"`
	Sequence        string         `json:"sequence,omitempty"`
	CausationID     string         `json:"causationid,omitempty"`
	OperationID     string         `json:"operationid,omitempty"`
	TraceParent     string         `json:"traceparent,omitempty"`
	TraceState      string         `json:"tracestate,omitempty"`
	Data            jsontext.Value `json:"data"`
}

func structuredOf(e Event, data []byte) structured {
	return structured{
		SpecVersion: specVersion, ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject,
		Time: e.Time.Format(time.RFC3339Nano), DataContentType: contentTypeJSON, DataSchema: SchemaID(e.Type),
		Sequence: sequenceText(e.Sequence), CausationID: e.CausationID, OperationID: e.OperationID,
		TraceParent: e.TraceParent, TraceState: e.TraceState, Data: data,
	}
}

// readEvent reads everything but the data.
func readEvent(m Message, strict bool) (Event, []byte, error) {
	s, err := attributesOf(m, strict)
	if err != nil {
		return Event{}, nil, err
	}
	if s.SpecVersion != specVersion {
		return Event{}, nil, errEvent("specversion")
	}
	if strict && s.DataSchema != SchemaID(s.Type) {
		return Event{}, nil, errEvent("dataschema")
	}
	e := Event{
		ID: s.ID, Source: s.Source, Type: s.Type, Subject: s.Subject,
		CausationID: s.CausationID, OperationID: s.OperationID, TraceParent: s.TraceParent, TraceState: s.TraceState,
	}
	var ok bool
	if e.Time, ok = parseTime([]byte(s.Time)); !ok {
		return Event{}, nil, errEvent("time")
	}
	if s.Sequence != "" {
		// Another producer of the same contract may not pad.
		if e.Sequence, err = strconv.ParseInt(s.Sequence, 10, 64); err != nil {
			return Event{}, nil, errEvent("sequence")
		}
		if strict && sequenceText(e.Sequence) != s.Sequence {
			return Event{}, nil, errEvent("sequence")
		}
	}
	return e, s.Data, nil
}

func attributesOf(m Message, strict bool) (structured, error) {
	s := structured{Data: m.Value}
	binary := map[string]*string{
		"ce_specversion": &s.SpecVersion, "ce_id": &s.ID, "ce_source": &s.Source, "ce_type": &s.Type, "ce_subject": &s.Subject,
		"ce_time": &s.Time, "ce_dataschema": &s.DataSchema, "ce_sequence": &s.Sequence, "ce_causationid": &s.CausationID,
		"ce_operationid": &s.OperationID, "ce_traceparent": &s.TraceParent, "ce_tracestate": &s.TraceState,
		headerContentType: &s.DataContentType,
	}
	seen := make(map[string]bool, len(m.Headers))
	for _, h := range m.Headers {
		name := strings.ToLower(h.Key)
		slot, known := binary[name]
		if !known {
			if strict {
				return structured{}, errEvent("an unknown header")
			}
			continue
		}
		if seen[name] || !utf8.Valid(h.Value) {
			return structured{}, errEvent(name)
		}
		seen[name] = true
		*slot = string(h.Value)
	}
	media, utf8Charset := mediaType([]byte(s.DataContentType))
	if !utf8Charset {
		return structured{}, errEvent(headerContentType)
	}
	if media != mediaTypeCloudEvent {
		if strict && s.DataContentType != contentTypeJSON || !readable(modeBinary, media) {
			return structured{}, errEvent(headerContentType)
		}
		return s, nil
	}
	if strict && (s.DataContentType != contentTypeCloudEvent || len(m.Headers) != 1) {
		return structured{}, errEvent("headers of a structured event")
	}
	s = structured{}
	if err := json.Unmarshal(m.Value, &s, json.RejectUnknownMembers(strict)); err != nil {
		return structured{}, errEvent("value")
	}
	if strict && s.DataContentType != contentTypeJSON {
		return structured{}, errEvent("datacontenttype")
	}
	return s, nil
}
