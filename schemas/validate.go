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
	if e.Type != e.Data.Type() {
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
	if where := e.Data.fault(); where != "" {
		return errEvent("data/" + where)
	}
	if _, subject := keys(e.Data); e.Subject != subject {
		return errEvent("subject")
	}
	return nil
}

// validTime wants a year that RFC 3339 can write, and not the zero time.
func validTime(t time.Time) bool { return !t.IsZero() && t.Year() >= 1 && t.Year() <= 9999 }

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

// ValidShop reports whether a shop id has the form that the contract asks for.
func ValidShop(shop string) bool { return checkText(shop, MaxShopBytes) == "" }

func checkShop(d Data) string {
	account, shop := d.Shop()
	return firstError(errIf("shopId", checkText(shop, MaxShopBytes) == ""),
		errIf("partnerAccount", checkText(account, MaxAccountBytes) == ""))
}

func checkFailure(d Data, reason FailureReason, action Action) string {
	_, known := LookupFailure(d.Type(), reason)
	return firstError(errIf("reason", known), errIf("action", slices.Contains(actions, action)))
}

// checkReference checks that every member says what the reference says, and that the
// reference is this shop's: one that resolves to another shop's credentials
// would be worse than none.
func checkReference(d CredentialsData) string {
	account, shop := d.Shop()
	c := d.Reference()
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
