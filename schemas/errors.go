package schemas

import "strconv"

// An InvalidReason says why an input record is a dead letter: one of a closed set, fit
// for a metric label and for the dead letter event.
type InvalidReason string

// The reasons of dead letters; [DescribeInvalidReason] says what each means. All but the
// last come from [Decoder.Decode].
const (
	ReasonUnknownTopic           InvalidReason = "unknown_topic"
	ReasonTooLarge               InvalidReason = "too_large"
	ReasonNotJSON                InvalidReason = "not_json"
	ReasonCompressed             InvalidReason = "compressed"
	ReasonUnsupportedEncoding    InvalidReason = "unsupported_encoding"
	ReasonUnsupportedFormat      InvalidReason = "unsupported_format"
	ReasonDoubleEncoded          InvalidReason = "double_encoded"
	ReasonEnveloped              InvalidReason = "enveloped"
	ReasonBatch                  InvalidReason = "batch"
	ReasonInvalidUTF8            InvalidReason = "invalid_utf8"
	ReasonDuplicateMember        InvalidReason = "duplicate_member"
	ReasonTooDeep                InvalidReason = "too_deep"
	ReasonRepeatedHeader         InvalidReason = "repeated_header"
	ReasonUnsupportedContentType InvalidReason = "unsupported_content_type"
	ReasonUnsupportedVersion     InvalidReason = "unsupported_specversion"
	ReasonTypeDiffers            InvalidReason = "type_differs"
	ReasonMissing                InvalidReason = "missing"
	ReasonWrongType              InvalidReason = "wrong_type"
	ReasonEmpty                  InvalidReason = "empty"
	ReasonTooLong                InvalidReason = "too_long"
	ReasonControlCharacter       InvalidReason = "control_character"
	ReasonMalformed              InvalidReason = "malformed"
	ReasonSubjectDiffers         InvalidReason = "subject_differs"
	ReasonUnknownAccount         InvalidReason = "unknown_account"
	ReasonConflict               InvalidReason = "conflict"
	ReasonIDReused               InvalidReason = "id_reused"
)

type reasonRow struct {
	reason          InvalidReason
	meaning, remedy string
}

// reasonTable is the one table of reasons: what is wrong with the record, and
// what its producer has to change.
var reasonTable = []reasonRow{
	{ReasonUnknownTopic, "The topic carries no event of the contract.", "Check the setting that maps events to topics."},
	{ReasonTooLarge, "The record or its batch exceeds a size limit and was not read.", "Send the event alone, without attachments; send smaller batches (batch.size)."},
	{ReasonNotJSON, "The JSON is broken, or text follows it.", "Write the value with a JSON library."},
	{ReasonCompressed, "The application compressed the value (gzip, zlib, zstd, lz4, bzip2, xz or snappy).", "Send the JSON itself; the Kafka client compresses batches (compression.type)."},
	{ReasonUnsupportedEncoding, "The value is UTF-16 or UTF-32.", "Write the JSON in UTF-8."},
	{ReasonUnsupportedFormat, "The data after the frame of a schema registry is not JSON (Avro, Protobuf).", "Use the registry's JSON Schema serializer, or none."},
	{ReasonDoubleEncoded, "The JSON is inside a JSON string or base64: it was serialised twice.", "Serialise the event once. With Debezium's outbox set expand.json.payload, with Kafka Connect use the StringConverter."},
	{ReasonEnveloped, "The event is inside another object (Kafka Connect, Debezium, a webhook); the member `where` names it.", "Send the inner object. With Kafka Connect set schemas.enable=false, with Debezium use ExtractNewRecordState."},
	{ReasonBatch, "The value holds a list of events.", "Send one event in each record."},
	{ReasonInvalidUTF8, "The value, or a header or member that is read, is not valid UTF-8.", "Write UTF-8 (MySQL: utf8mb4; Java: not modified UTF-8)."},
	{ReasonDuplicateMember, "A member that is read occurs twice with different values.", "Write each member once."},
	{ReasonTooDeep, "Objects and arrays are nested beyond the limit.", "Send a flat event."},
	{ReasonRepeatedHeader, "A header that is read occurs twice with different values.", "Write each header once."},
	{ReasonUnsupportedContentType, "The content type is not JSON in UTF-8.", "Set application/json, or application/cloudevents+json in structured mode."},
	{ReasonUnsupportedVersion, "specversion is not 1.0.", "Send CloudEvents 1.0."},
	{ReasonTypeDiffers, "The event's type is not the one that the topic carries.", "Send each type to its topic."},
	{ReasonMissing, "A required member or attribute is missing.", "Add it; names are case-sensitive."},
	{ReasonWrongType, "A member has the wrong JSON type.", "See the schema of the event."},
	{ReasonEmpty, "A text has no content.", "Leave an optional member out; a required one needs a value."},
	{ReasonTooLong, "A text is longer than its limit.", "See the schema of the event."},
	{ReasonControlCharacter, "A text holds a control character.", "Remove it."},
	{ReasonMalformed, "A number, time, address or base64 text has the wrong form, or the record batch cannot be decoded.", "See the schema of the event."},
	{ReasonSubjectDiffers, "The subject is not the shop id.", "Make both equal, or leave subject out."},
	{ReasonUnknownAccount, "No partner account with this name is configured.", "Correct the name, or configure the account."},
	{ReasonConflict, "The event has both data and data_base64.", "Send one of them."},
	{ReasonIDReused, "An earlier event had the same topic, source and id but different content.", "Give every event its own id; a repeat must have the same content."},
}

// InvalidReasons returns the closed set of reasons for dead letters.
func InvalidReasons() []InvalidReason {
	list := make([]InvalidReason, len(reasonTable))
	for i, row := range reasonTable {
		list[i] = row.reason
	}
	return list
}

// DescribeInvalidReason says what is wrong with a record that has this reason, and what
// its producer has to change. Both are empty for a word that is no reason.
func DescribeInvalidReason(reason InvalidReason) (meaning, remedy string) {
	for _, row := range reasonTable {
		if row.reason == reason {
			return row.meaning, row.remedy
		}
	}
	return "", ""
}

// An InvalidError is the verdict on a record that cannot be used: it is a dead
// letter. It says what is wrong and where, never with which value.
type InvalidError struct {
	Reason InvalidReason
	// Where is a JSON pointer into the value or the lower-case name of a header;
	// empty when the fault has no place of its own. It consists of names of the
	// contract only: a name that a stranger chose is a value too.
	Where string
	// Byte is the offset in the record's value at which the JSON breaks, for
	// not_json, duplicate_member and the like; 0 otherwise.
	Byte int64
	// EventID is the event's id when it could be read and is fit to be shown
	// (bounded, UTF-8, no control characters), else empty.
	EventID string
	// Account and Shop are those of the event where both could be read and are
	// fit to be shown, else empty.
	Account, Shop string
	// TraceParent is that of the record when it could be read and is well formed,
	// else empty.
	TraceParent string
}

// Error names the reason and the place.
func (e *InvalidError) Error() string {
	text := "schemas: invalid event: " + string(e.Reason)
	if e.Where != "" {
		text += " at " + e.Where
	}
	if e.Byte > 0 {
		text += " near byte " + strconv.FormatInt(e.Byte, 10)
	}
	return text
}

// An IgnoreReason says why a record is counted and left alone.
type IgnoreReason string

// The reasons to ignore a record.
const (
	IgnoreTombstone     IgnoreReason = "tombstone"      // no value
	IgnoreOtherProvider IgnoreReason = "other_provider" // the event is another provider's business
)

// An IgnoredError is the verdict on a record that is none of our business.
type IgnoredError struct {
	Reason IgnoreReason
	// Account and Shop are set for other_provider when both could be read and are
	// valid: a shop that has turned to another provider needs no invitation that
	// was not sent yet. Nothing else of such an event was checked.
	Account, Shop string
	// NearMiss is the provider where its name is nearly ours, else empty: it may
	// be a typing error, which nobody would notice otherwise.
	NearMiss string
}

// Error names the reason.
func (e *IgnoredError) Error() string { return "schemas: ignored event: " + string(e.Reason) }

func isReason(reason InvalidReason) bool {
	meaning, _ := DescribeInvalidReason(reason)
	return meaning != ""
}
