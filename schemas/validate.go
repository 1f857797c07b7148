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
		return errEvent("data of an unknown kind")
	}
	if e.Type != typeOf(e.Data) {
		return errEvent("type does not fit data")
	}
	if checkText(e.ID, MaxIDBytes) != "" {
		return errEvent("id")
	}
	if checkText(e.Source, MaxSourceBytes) != "" {
		return errEvent("source")
	}
	if !validTime(e.Time) {
		return errEvent("time")
	}
	isShops := e.Type != TypeDeadLetter
	if e.Sequence < 0 || isShops != (e.Sequence > 0) {
		return errEvent("sequence")
	}
	if (isShops || e.CausationID != "") && checkText(e.CausationID, MaxIDBytes) != "" {
		return errEvent("causationid")
	}
	if (isShops || e.OperationID != "") && checkText(e.OperationID, MaxIDBytes) != "" {
		return errEvent("operationid")
	}
	if e.TraceParent != "" && !validTraceParent(e.TraceParent) {
		return errEvent("traceparent")
	}
	if e.TraceState != "" && (e.TraceParent == "" || !validTraceState(e.TraceState)) {
		return errEvent("tracestate")
	}
	if where := checkData(e.Data); where != "" {
		return errEvent("data/" + where)
	}
	if _, subject := keys(e.Data); e.Subject != subject {
		return errEvent("subject")
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
	case Disconnected:
		return TypeDisconnected
	case DeadLetter:
		return TypeDeadLetter
	}
	return ""
}

// validTime wants a year that RFC 3339 can write, and not the zero time.
func validTime(t time.Time) bool { return !t.IsZero() && t.Year() >= 1 && t.Year() <= 9999 }

// checkData names the first member that breaks the contract.
func checkData(data any) string {
	switch d := data.(type) {
	case Invited:
		return firstError(checkShop(d.ShopID, d.PartnerAccount),
			errIf("invitationId", d.InvitationID == "" || checkRunes(d.InvitationID, MaxInvitationChars) == ""),
			errIf("invitedAt", validTime(d.InvitedAt)),
			errIf("outcome", slices.Contains(invitationOutcomes, d.Outcome)))
	case InvitationFailed:
		return firstError(checkShop(d.ShopID, d.PartnerAccount), checkFailure(TypeInvitationFailed, d.Reason, d.Action))
	case Activated:
		return firstError(checkShop(d.ShopID, d.PartnerAccount),
			errIf("merchantId", checkRunes(d.MerchantID, MaxMerchantChars) == ""),
			errIf("activatedAt", validTime(d.ActivatedAt)),
			errIf("verification", slices.Contains(verifications, d.Verification)),
			d.Credentials.fault(d.PartnerAccount, d.ShopID))
	case ActivationFailed:
		return firstError(checkShop(d.ShopID, d.PartnerAccount), checkFailure(TypeActivationFailed, d.Reason, d.Action))
	case CredentialsVerified:
		return firstError(checkShop(d.ShopID, d.PartnerAccount), d.Credentials.fault(d.PartnerAccount, d.ShopID),
			errIf("checkedAt", validTime(d.CheckedAt)))
	case CredentialsInvalid:
		return firstError(checkShop(d.ShopID, d.PartnerAccount), d.Credentials.fault(d.PartnerAccount, d.ShopID),
			errIf("checkedAt", validTime(d.CheckedAt)))
	case Disconnected:
		return firstError(checkShop(d.ShopID, d.PartnerAccount), errIf("disconnectedAt", validTime(d.DisconnectedAt)),
			errIf("destroyAfter", d.DestroyAfter.IsZero() || validTime(d.DestroyAfter)))
	case DeadLetter:
		return firstError(errIf("topic", validTopic(d.Topic)),
			errIf("partition", d.Partition >= 0 && d.Partition <= maxPartition),
			errIf("offset", d.Offset >= 0),
			errIf("eventId", d.EventID == "" || checkText(d.EventID, MaxIDBytes) == ""),
			errIf("reason", isReason(d.Reason)),
			errIf("where", d.Where == "" || checkText(d.Where, MaxWhereBytes) == ""),
			errIf("time", validTime(d.Time)))
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

func errIf(where string, good bool) string {
	if good {
		return ""
	}
	return where
}

func firstError(faults ...string) string {
	for _, f := range faults {
		if f != "" {
			return f
		}
	}
	return ""
}

func checkShop(shop, account string) string {
	return firstError(errIf("shopId", checkText(shop, MaxShopBytes) == ""),
		errIf("partnerAccount", checkText(account, MaxAccountBytes) == ""))
}

func checkFailure(typ string, reason FailureReason, action Action) string {
	_, known := LookupFailure(typ, reason)
	return firstError(errIf("reason", known), errIf("action", slices.Contains(actions, action)))
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
	return errIf("credentials/fields", len(c.Fields) > 0)
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
