package schemas

import (
	"slices"
	"time"
)

// The names of the events. Each is the CloudEvents type and, unless a setting
// renames it, the topic.
const (
	TypeProviderSelected    = "shop.payment_provider_selected"
	TypeCodeEntered         = "shop.activation_code_entered"
	TypeInvited             = "shop.invoicebox_invited"
	TypeInvitationFailed    = "shop.invoicebox_invitation_failed"
	TypeActivated           = "shop.invoicebox_activated"
	TypeActivationFailed    = "shop.invoicebox_activation_failed"
	TypeCredentialsVerified = "shop.invoicebox_credentials_verified"
	TypeCredentialsInvalid  = "shop.invoicebox_credentials_invalid"
	TypeDisconnected        = "shop.invoicebox_disconnected"
	TypeUnanswered          = "shop.invoicebox_invitation_unanswered"
	TypeDeadLetter          = "shop.invoicebox_dead_letter"
)

// Provider is the only value of a provider that is ours, compared byte for byte.
const Provider = "invoicebox"

var inputTypes = []string{TypeProviderSelected, TypeCodeEntered}

// InputTypes returns the events that are read, in a fixed order.
func InputTypes() []string { return slices.Clone(inputTypes) }

// OutputTypes returns the events that are published, in a fixed order.
func OutputTypes() []string {
	names := make([]string, len(outputTypes))
	for i, t := range outputTypes {
		names[i] = t.name
	}
	return names
}

// A Header is one header of a record. Names compare without case; a name may
// be repeated, as in Kafka.
type Header struct {
	Key   string
	Value []byte
}

// A Message is a Kafka record without Kafka, so that those who read or write
// events need no client library to use this package.
type Message struct {
	Topic      string
	Partition  int
	Offset     int64
	Time       time.Time // of the record; zero when the broker gives none
	Key, Value []byte
	Headers    []Header
}

// The limits of the contract, in one table. Bytes are bytes of UTF-8,
// characters are Unicode code points. The JSON Schemas can only count
// characters: where a limit is in bytes they repeat the number as characters,
// and their descriptions say the rest.
const (
	DefaultMaxValueBytes = 256 << 10 // an input record's value, unless DecoderOptions says otherwise
	MaxDepth             = 32        // nested objects and arrays in an input value, the outermost included
	MaxIDBytes           = 256       // CloudEvents id, and the id of plain JSON
	MaxSourceBytes       = 256       // CloudEvents source
	MaxShopBytes         = 128       // shop id
	MaxAccountBytes      = 64        // name of a partner account
	MaxEmailChars        = 100       // e-mail address, trimmed
	MaxCodeChars         = 36        // activation code, trimmed
	MaxTraceStateBytes   = 512       // tracestate; a longer one is dropped, not refused
	MaxTopicBytes        = 249       // Kafka's own limit
	MaxWhereBytes        = 64        // place of a fault in a dead letter
	MaxMerchantChars     = 36        // merchant id
	MaxInvitationChars   = 128       // invitation id
	MaxReminders         = 10        // reminders of an invitation
	MaxReferenceBytes    = 1 << 10   // credentials reference
	MaxMountBytes        = 256       // mount of a credentials reference
	MaxOutputBytes       = 16 << 10  // a published event: key, value and headers together
)
