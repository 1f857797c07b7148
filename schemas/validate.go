package schemas

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// check tells whether an event keeps the contract. Errors name the place, not
// the value.
func (e Event) check() error {
	if typeOf(e.Data) == "" {
		return broken("data of an unknown kind")
	}
	if e.Type != typeOf(e.Data) {
		return broken("type does not fit data")
	}
	if textFault(e.ID, MaxIDBytes) != "" {
		return broken("id")
	}
	if textFault(e.Source, MaxSourceBytes) != "" {
		return broken("source")
	}
	if !validTime(e.Time) {
		return broken("time")
	}
	isShops := e.Type != TypeDeadLetter
	if e.Sequence < 0 || isShops != (e.Sequence > 0) {
		return broken("sequence")
	}
	if (isShops || e.CausationID != "") && textFault(e.CausationID, MaxIDBytes) != "" {
		return broken("causationid")
	}
	if (isShops || e.OperationID != "") && textFault(e.OperationID, MaxIDBytes) != "" {
		return broken("operationid")
	}
	if e.TraceParent != "" && !validTraceParent(e.TraceParent) {
		return broken("traceparent")
	}
	if e.TraceState != "" && (e.TraceParent == "" || !validTraceState(e.TraceState)) {
		return broken("tracestate")
	}
	if where := dataFault(e.Data); where != "" {
		return broken("data/" + where)
	}
	if _, subject := keys(e.Data); e.Subject != subject {
		return broken("subject")
	}
	return nil
}

func typeOf(data any) string {
	switch data.(type) {
	case Invited:
		return TypeInvited
	case InvitationFailed:
		return TypeInvitationFailed
	case Activated:
		return TypeActivated
	case ActivationFailed:
		return TypeActivationFailed
	case CredentialsVerified:
		return TypeCredentialsVerified
	case CredentialsInvalid:
		return TypeCredentialsInvalid
	case DeadLetter:
		return TypeDeadLetter
	}
	return ""
}

// validTime wants a year that RFC 3339 can write, and not the zero time.
func validTime(t time.Time) bool { return !t.IsZero() && t.Year() >= 1 && t.Year() <= 9999 }

// dataFault names the first member that breaks the contract.
func dataFault(data any) string {
	switch d := data.(type) {
	case Invited:
		return first(shopFault(d.ShopID, d.PartnerAccount),
			fault("invitationId", d.InvitationID == "" || charFault(d.InvitationID, MaxInvitationChars) == ""),
			fault("invitedAt", validTime(d.InvitedAt)),
			fault("outcome", slices.Contains(invitationOutcomes, d.Outcome)))
	case InvitationFailed:
		return first(shopFault(d.ShopID, d.PartnerAccount), failureFault(TypeInvitationFailed, d.Reason, d.Action))
	case Activated:
		return first(shopFault(d.ShopID, d.PartnerAccount),
			fault("merchantId", charFault(d.MerchantID, MaxMerchantChars) == ""),
			fault("activatedAt", validTime(d.ActivatedAt)),
			fault("verification", slices.Contains(verifications, d.Verification)),
			d.Credentials.fault(d.PartnerAccount, d.ShopID))
	case ActivationFailed:
		return first(shopFault(d.ShopID, d.PartnerAccount), failureFault(TypeActivationFailed, d.Reason, d.Action))
	case CredentialsVerified:
		return first(shopFault(d.ShopID, d.PartnerAccount), d.Credentials.fault(d.PartnerAccount, d.ShopID),
			fault("checkedAt", validTime(d.CheckedAt)))
	case CredentialsInvalid:
		return first(shopFault(d.ShopID, d.PartnerAccount), d.Credentials.fault(d.PartnerAccount, d.ShopID),
			fault("checkedAt", validTime(d.CheckedAt)))
	case DeadLetter:
		return first(fault("topic", validTopic(d.Topic)),
			fault("partition", d.Partition >= 0 && d.Partition <= maxPartition),
			fault("offset", d.Offset >= 0),
			fault("eventId", d.EventID == "" || textFault(d.EventID, MaxIDBytes) == ""),
			fault("reason", isReason(d.Reason)),
			fault("where", d.Where == "" || textFault(d.Where, MaxWhereBytes) == ""),
			fault("time", validTime(d.Time)))
	}
	return "data"
}

const maxPartition = 1<<31 - 1 // Kafka's own limit

var (
	invitationOutcomes = []InvitationOutcome{OutcomeSent, OutcomeAlreadyInvited, OutcomeAlreadyActive}
	verifications      = []Verification{VerificationVerified, VerificationPending}
	actions            = []Action{ActionRequestNewCode, ActionContactSupport, ActionNone}
	credentialFields   = []string{FieldMerchantID, FieldToken}
)

func fault(where string, good bool) string {
	if good {
		return ""
	}
	return where
}

func first(faults ...string) string {
	for _, f := range faults {
		if f != "" {
			return f
		}
	}
	return ""
}

func shopFault(shop, account string) string {
	return first(fault("shopId", textFault(shop, MaxShopBytes) == ""),
		fault("partnerAccount", textFault(account, MaxAccountBytes) == ""))
}

func failureFault(typ string, reason FailureReason, action Action) string {
	_, known := FailureOf(typ, reason)
	return first(fault("reason", known), fault("action", slices.Contains(actions, action)))
}

// fault checks that every member says what the reference says, and that the
// reference is this shop's: one that resolves to another shop's credentials
// would be worse than none.
func (c Credentials) fault(account, shop string) string {
	ref, err := ParseReference(c.Ref)
	switch {
	case err != nil || ref.Account != account || ref.Shop != shop || ref.Version == 0 || ref.Field != "":
		return "credentials/ref"
	case c.Store != ref.Store:
		return "credentials/store"
	case c.Key != ref.Key():
		return "credentials/key"
	case c.Version != ref.Version:
		return "credentials/version"
	}
	for i, field := range c.Fields {
		if !slices.Contains(credentialFields, field) || slices.Contains(c.Fields[:i], field) {
			return "credentials/fields"
		}
	}
	return fault("credentials/fields", len(c.Fields) > 0)
}

// validTopic wants a name that Kafka takes.
func validTopic(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > MaxTopicBytes || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
	}) < 0
}
