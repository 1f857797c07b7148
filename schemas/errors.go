package schemas

import "strconv"

// A Reason says why an input record is a dead letter: one of a closed set, fit
// for a metric label and for the dead letter event.
type Reason string

// The reasons of dead letters. All but the last come from [Decoder.Decode].
const (
	ReasonUnknownTopic           Reason = "unknown_topic"            // the topic carries no event of the contract
	ReasonTooLarge               Reason = "too_large"                // the value is over the limit and was not looked at
	ReasonNotJSON                Reason = "not_json"                 // broken JSON, or something after it
	ReasonInvalidUTF8            Reason = "invalid_utf8"             // in the value or in a header
	ReasonDuplicateMember        Reason = "duplicate_member"         // an object says one name twice
	ReasonTooDeep                Reason = "too_deep"                 // nested beyond the limit
	ReasonRepeatedHeader         Reason = "repeated_header"          // a header that is read stands there twice
	ReasonUnsupportedContentType Reason = "unsupported_content_type" // not JSON in UTF-8, or a batch
	ReasonUnsupportedVersion     Reason = "unsupported_specversion"  // not CloudEvents 1.0
	ReasonTypeDiffers            Reason = "type_differs"             // the event's type is not the topic's
	ReasonMissing                Reason = "missing"                  // a required member or attribute is not there
	ReasonWrongType              Reason = "wrong_type"               // a member has another JSON type than it must
	ReasonEmpty                  Reason = "empty"                    // a text without content
	ReasonTooLong                Reason = "too_long"                 // a text over its limit
	ReasonControlCharacter       Reason = "control_character"        // C0, DEL or C1 in a text
	ReasonMalformed              Reason = "malformed"                // a number, time, address or base64 of the wrong form
	ReasonSubjectDiffers         Reason = "subject_differs"          // the subject is not the shop id
	ReasonUnknownAccount         Reason = "unknown_account"          // nobody configured this partner account
	ReasonConflict               Reason = "conflict"                 // two members that exclude each other
	ReasonIDReused               Reason = "id_reused"                // the same identity with other content (the inbox finds it)
)

var reasons = []Reason{
	ReasonUnknownTopic, ReasonTooLarge, ReasonNotJSON, ReasonInvalidUTF8, ReasonDuplicateMember, ReasonTooDeep,
	ReasonRepeatedHeader, ReasonUnsupportedContentType, ReasonUnsupportedVersion, ReasonTypeDiffers, ReasonMissing,
	ReasonWrongType, ReasonEmpty, ReasonTooLong, ReasonControlCharacter, ReasonMalformed, ReasonSubjectDiffers,
	ReasonUnknownAccount, ReasonConflict, ReasonIDReused,
}

// Reasons returns the closed set of reasons for dead letters.
func Reasons() []Reason { return append([]Reason(nil), reasons...) }

// An Invalid is the verdict on a record that cannot be used: it is a dead
// letter. It says what is wrong and where, never with which value.
type Invalid struct {
	Reason Reason
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
}

// Error names the reason and the place.
func (e *Invalid) Error() string {
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

// An Ignored is the verdict on a record that is none of our business.
type Ignored struct {
	Reason IgnoreReason
	// Account and Shop are set for other_provider when both could be read and are
	// valid: a shop that has turned to another provider needs no invitation that
	// was not sent yet. Nothing else of such an event was checked.
	Account, Shop string
}

// Error names the reason.
func (e *Ignored) Error() string { return "schemas: ignored event: " + string(e.Reason) }
