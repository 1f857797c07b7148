package onboarding

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
)

// An Action is what a person can do about an operation in attention, or about
// an account's breaker.
type Action string

// The commands.
const (
	ActionProbe          Action = "probe"           // ask once more, knowing that it may have been executed
	ActionRetry          Action = "retry"           // run it again, through lane, ledger and breaker
	ActionSetCredentials Action = "set-credentials" // enter merchant id and token by hand
	ActionReread         Action = "reread"          // read the kept response again, by this version's parser
	ActionClose          Action = "close"           // end it
	ActionReissue        Action = "reissue"         // publish the newest result of an operation again; in any state
	ActionPause          Action = "pause"           // close an account's breaker
	ActionResume         Action = "resume"          // let one call try whether it can open again
	ActionCheck          Action = "check"           // check an account's own token now
	ActionMoveToSealed   Action = "move-to-sealed"  // seal current credentials in the journal
	ActionMoveToOpenBao  Action = "move-to-openbao" // put current credentials into OpenBao
	ActionMoveToVault    Action = "move-to-vault"   // put current credentials into Vault
	ActionDisconnect     Action = "disconnect"      // end the use of a shop's credentials
	ActionErase          Action = "erase"           // erase the personal data of a shop
	ActionImport         Action = "import"          // take over a shop that is connected already
)

// DetailsErased is the act of an entry whose detail has the numbers of the entries whose
// details an erasure has erased.
const DetailsErased = string(ActionErase) + ".details"

// An ActionRule says what a command does to an operation in attention that permits
// it. The first row that fits decides.
type ActionRule struct {
	Action Action
	Reason Reason       // of the attention; "" is any
	Kind   journal.Kind // 0 is any
	To     journal.State
	Why    Reason // of the operation after it
	Run    bool   // calls start again: the next run
	Probe  bool   // flagged as made to learn of an unknown outcome
	Result Result
}

var actionRules = []ActionRule{
	{Action: ActionProbe, To: journal.Planned, Why: ReasonProbe, Run: true, Probe: true, Result: ResultPlanned},
	// Its code was executed: not the code is sent again, its token is checked again.
	{Action: ActionRetry, Reason: ReasonCredentialsInvalid, To: journal.Stored, Why: ReasonTokenRefused, Run: true, Result: ResultChecking},
	{Action: ActionRetry, To: journal.Planned, Why: ReasonRetried, Run: true, Result: ResultPlanned},
	{Action: ActionSetCredentials, Kind: journal.Activate, To: journal.Done, Why: ReasonActivated, Run: true, Result: ResultActivated},
	{Action: ActionReread, Kind: journal.Activate, To: journal.Done, Why: ReasonActivated, Run: true, Result: ResultActivated},
	{Action: ActionClose, Reason: ReasonSecondToken, To: journal.Done, Why: ReasonKeptToken, Result: ResultClosed},
	{Action: ActionClose, To: journal.Done, Why: ReasonClosed, Result: ResultClosed},
}

// ActionRuleOf finds what a command does; false where no kind of operation has it.
func ActionRuleOf(c Action, r Reason, k journal.Kind) (ActionRule, bool) {
	for _, row := range actionRules {
		if row.Action == c && (row.Reason == "" || row.Reason == r) && (row.Kind == 0 || row.Kind == k) {
			return row, true
		}
	}
	return ActionRule{}, false
}

// CloseEvent is the event by which others learn that a person closed an operation.
type CloseEvent uint8

// The events of a closed operation.
const (
	PublishClosed  CloseEvent = iota // the failure `closed`, final
	PublishNothing                   // the event that was published when it came to a person was final
	PublishCurrent                   // the shop's current activation once more, under a new id: it stands
)

// A closeRule says what is owed when an operation is closed. Every event that
// attention published says `final: false`, but one: so something is.
type closeRule struct {
	reason Reason // "" is any
	active bool   // only of an activation of a shop that is active
	event  CloseEvent
}

var closeRules = []closeRule{
	{reason: ReasonCodeOfOtherShop, event: PublishNothing},
	// What is current was lost with the journal, or is older than that.
	{reason: ReasonCredentialsLost, event: PublishClosed},
	// A failure with a higher sequence would take an active shop back.
	{active: true, event: PublishCurrent},
	{event: PublishClosed},
}

// CloseEventOf returns the event that an operation in attention requires when it is
// closed.
func CloseEventOf(r Reason, k journal.Kind, active bool) CloseEvent {
	for _, row := range closeRules {
		if (row.reason == "" || row.reason == r) && (!row.active || active && k == journal.Activate) {
			return row.event
		}
	}
	return PublishClosed
}

// A Result says what became of an intent. The set is closed.
type Result string

// Results of intents that were performed.
const (
	ResultPlanned   Result = "planned"
	ResultChecking  Result = "checking"
	ResultActivated Result = "activated"
	ResultClosed    Result = "closed"
	ResultPaused    Result = "paused"
	ResultResumed   Result = "resumed"

	ResultTokenWorks Result = "token_works"
	ResultReissued   Result = "reissued"

	ResultMoved        Result = "credentials_moved"
	ResultDisconnected Result = "disconnected"
	ResultErased       Result = "erased"
	ResultImported     Result = "imported"
	ResultImportedSame Result = "already_imported"
)

// Results of intents that were refused: nothing was changed.
const (
	ResultMovedOn            Result = "moved_on"
	ResultNotSafe            Result = "not_safe"
	ResultTokenRefused       Result = "token_refused"
	ResultTokenUnanswered    Result = "token_unanswered"
	ResultMerchantConflict   Result = "merchant_conflict"
	ResultStoreConflict      Result = "store_conflict"
	ResultStoreUnavailable   Result = "store_unavailable"
	ResultSecretNotDestroyed Result = "secret_not_destroyed"
	ResultOwnToken           Result = "own_token"
	ResultUnreadable         Result = "unreadable"
	ResultNotAuthentic       Result = "not_authentic"
	ResultInvalid            Result = "invalid"
	ResultStillUnreadable    Result = "still_unreadable"
	ResultNotConfigured      Result = "not_configured"
	ResultNotPaused          Result = "not_paused"
	ResultTokenOpens         Result = "token_opens"

	ResultAccountTokenRefused Result = "account_token_refused"
	ResultNotTheAPI           Result = "not_the_api"
	ResultPartnerRefused      Result = "partner_id_refused"
	ResultCheckDenied         Result = "check_denied"
	ResultAccountThrottled    Result = "account_throttled"
	ResultNoAnswer            Result = "no_answer"
	ResultNoPermitLeft        Result = "no_permit"

	ResultNoResult  Result = "no_result"
	ResultNoStore   Result = "store_not_configured"
	ResultNotMoved  Result = "credentials_not_moved"
	ResultNotActive Result = "not_active"
	ResultInFlight  Result = "in_flight"
	ResultAttention Result = "in_attention"
	ResultConnected Result = "other_credentials"

	ResultUnknownAct Result = "unknown_act"
	ResultRestored   Result = "restored"
)

// A ResultRow describes a result.
type ResultRow struct {
	Result Result
	State  journal.IntentState
	Text   string
}

var resultRows = []ResultRow{
	{ResultPlanned, journal.IntentPerformed, "The operation is planned again as a new run; it goes through its shop's lane, the limits and the account's circuit breaker."},
	{ResultChecking, journal.IntentPerformed, "The stored token is checked again; it is announced as soon as Invoicebox takes it."},
	{ResultActivated, journal.IntentPerformed, "The token was found to work and is stored; the shop is active, and that is published."},
	{ResultClosed, journal.IntentPerformed, "The operation has ended."},
	{ResultPaused, journal.IntentPerformed, "The account is paused: nobody is invited or activated; calls in flight go on to their end, tokens are still checked, and nothing fails."},
	{ResultResumed, journal.IntentPerformed, "A trial call is made. If it succeeds, the account is active again."},

	{ResultMovedOn, journal.IntentRefused, "The operation does not wait for a person any more"},
	{ResultNotSafe, journal.IntentRefused, "This command is not safe for an operation in this attention"},
	{ResultTokenRefused, journal.IntentRefused, "Invoicebox refuses this token."},
	{ResultTokenUnanswered, journal.IntentRefused, "Invoicebox did not say whether the token works. Ask again later."},
	{ResultMerchantConflict, journal.IntentRefused, "The merchant id is another shop's, or not the one that this shop is known with."},
	{ResultStoreConflict, journal.IntentRefused, "The credential store has a secret at the shop's path that this service did not write; the log names it."},
	{ResultStoreUnavailable, journal.IntentRefused, "The credential store failed until the end of the token check; the log has the cause. A write whose response was lost may have stored the secret at the shop's path. Run the command again when the store is available."},
	{ResultSecretNotDestroyed, journal.IntentRefused, "The secret that was stored for this action could not be destroyed and is still in the credential store"},
	{ResultOwnToken, journal.IntentRefused, "This is the partner's own token, not the shop's."},
	{ResultUnreadable, journal.IntentRefused, "The command used another keyset than the worker's. Give the command the worker's keyset-file."},
	{ResultNotAuthentic, journal.IntentRefused, "No command with the worker's keyset wrote this: the row was inserted or edited in the database. Find out who can write the database; ask again by a command if it is still needed."},
	{ResultInvalid, journal.IntentRefused, "Merchant id and token are not of the form that Invoicebox gives."},
	{ResultStillUnreadable, journal.IntentRefused, "The kept response cannot be read by this version either, or is not kept any more. `operations response` shows it; enter merchant id and token by hand if it holds them."},
	{ResultNotConfigured, journal.IntentRefused, "The worker is not configured for this account."},
	{ResultNotPaused, journal.IntentRefused, "The account is not paused: it goes on by itself."},
	{ResultTokenOpens, journal.IntentRefused, "The account is paused for its token or address: only a check of its token resumes it. Use `accounts check`."},
	{ResultTokenWorks, journal.IntentPerformed, "Invoicebox accepts the account's token."},
	{ResultReissued, journal.IntentPerformed, "The result is published again, with the same id and the same bytes."},
	{ResultNoResult, journal.IntentRefused, "The operation has no result in the journal: none was published yet, or it was pruned."},
	{ResultMoved, journal.IntentPerformed, "The credentials have their new place, and the new references are to be published; the secrets are still at the earlier place too"},
	{ResultNoStore, journal.IntentRefused, "The worker is not configured for this store: set --vault-address and a way to log in for all workers, and restart them."},
	{ResultNotMoved, journal.IntentRefused, "No credentials could be moved; the log names each shop and why"},
	{ResultDisconnected, journal.IntentPerformed, "The shop is disconnected, and that is published. Its secrets are destroyed when the time of --destroy-after has passed; a new activation code connects the shop again."},
	{ResultErased, journal.IntentPerformed, "The personal data of the shop is erased from the journal. A shop that was active is disconnected: its secrets are destroyed when the time of --destroy-after has passed."},
	{ResultImported, journal.IntentPerformed, "The token was found to work and is stored; the shop is active."},
	{ResultImportedSame, journal.IntentPerformed, "The shop is active with these credentials already; nothing was changed."},
	{ResultConnected, journal.IntentRefused, "The shop is active with other credentials. Disconnect it first, if these are the right ones."},
	{ResultAttention, journal.IntentRefused, "An operation of the shop waits for an operator. Close it first with `operations close`"},
	{ResultNotActive, journal.IntentRefused, "The shop has no credentials in use."},
	{ResultInFlight, journal.IntentRefused, "An operation of the shop has to end first. Ask again when it has ended or waits for an operator"},
	{ResultAccountTokenRefused, journal.IntentRefused, "Invoicebox refuses the account's token: put a valid one into --token-file."},
	{ResultNotTheAPI, journal.IntentRefused, "What answers at --invoicebox-url is not the Invoicebox API: correct --invoicebox-url and restart the worker."},
	{ResultPartnerRefused, journal.IntentRefused, "Invoicebox does not accept the partner id: compare --partner-id, and whose token --token-file holds, with the contract."},
	{ResultCheckDenied, journal.IntentRefused, "The check of the token was answered, and the answer does not say whether the token works: the account may lack the right, a gateway may refuse this machine, or the response was cut."},
	{ResultAccountThrottled, journal.IntentRefused, "Invoicebox answers that the account's limit of requests is used up; nothing is known of the token."},
	{ResultNoAnswer, journal.IntentRefused, "Invoicebox fails or cannot be reached; nothing is known of the token."},
	{ResultNoPermitLeft, journal.IntentRefused, "No request is left in this window, so the token was not checked. Try again in a minute."},
	{ResultRestored, journal.IntentRefused, "The journal was restored, and this may have been done before. Look at it as it stands now, and ask again if it is still needed."},
	{ResultUnknownAct, journal.IntentRefused, "The worker does not know this command; it may be older than the program that asked."},
}

// tokenRefusals are the results of a token that is not taken: of an operation, or of an
// import, which has none.
var tokenRefusals = []Result{ResultTokenRefused, ResultTokenUnanswered, ResultMerchantConflict, ResultStoreConflict, ResultStoreUnavailable, ResultSecretNotDestroyed, ResultOwnToken}

// ResultOf returns the description of a result.
func ResultOf(r Result) ResultRow {
	for _, row := range resultRows {
		if row.Result == r {
			return row
		}
	}
	return ResultRow{Result: r, State: journal.IntentRefused}
}

// An ActionError says why an act is refused.
type ActionError struct {
	Result  Result
	Message string
	Note    string // appended to the result in the audit entry
}

func (r *ActionError) Error() string { return r.Message }

// NewActionError makes the error of a refused action. More is added to the description
// of the result.
func NewActionError(r Result, more string) *ActionError {
	words := ResultOf(r).Text
	if more != "" {
		words += ": " + more
	}
	return &ActionError{Result: r, Message: words}
}

// StoredAt is the error of an action that is refused after it wrote a secret to the
// credential store. Another action can have committed the secret, so it is only named.
func (r *ActionError) StoredAt(reference string) *ActionError {
	return &ActionError{Result: r.Result, Note: reference, Message: r.Message + " The secret is in the credential store: " + reference + ". Unless this is the shop's reference, destroy this version."}
}

// SecretNotDestroyed is the error of an action that is refused after it has stored a
// secret, which is still in the credential store.
func (r *ActionError) SecretNotDestroyed(reference string) *ActionError {
	return &ActionError{
		Result: ResultSecretNotDestroyed, Note: string(r.Result) + ", " + reference,
		Message: ResultOf(ResultSecretNotDestroyed).Text + ": " + reference + ". Destroy this version there. The action was refused: " + r.Message,
	}
}

// Safe returns the commands that are safe for an operation in the row's
// attention.
func (row AttentionRow) Safe(k journal.Kind, doubt bool) []Action {
	list := row.Actions
	if doubt && row.InDoubt != nil {
		list = row.InDoubt
	}
	var safe []Action
	for _, c := range list {
		if _, ok := ActionRuleOf(c, row.Reason, k); ok {
			safe = append(safe, c)
		}
	}
	return safe
}

// CheckAction tells whether a command may be performed on an operation as it stands;
// nil if so. The worker decides by it, and commands ask it beforehand.
func CheckAction(c Action, k journal.Kind, s journal.State, r Reason, doubt bool) *ActionError {
	if s != journal.Attention {
		state := s.String()
		if r != "" {
			state += " (" + string(r) + ")"
		}
		return NewActionError(ResultMovedOn, "it is "+state)
	}
	if _, ok := ActionRuleOf(c, r, k); !ok && !isAction(c) {
		return NewActionError(ResultUnknownAct, "")
	}
	row, ok := AttentionOf(r)
	if !ok {
		return NewActionError(ResultNotSafe, string(r))
	}
	safe := row.Safe(k, doubt)
	if slices.Contains(safe, c) {
		return nil
	}
	why := string(r)
	if doubt {
		why += ", in doubt"
	}
	var words []string
	for _, c := range safe {
		words = append(words, string(c))
	}
	return NewActionError(ResultNotSafe, why+"; safe: "+strings.Join(words, ", "))
}

// isAction tells whether some row has the command.
func isAction(c Action) bool {
	return slices.ContainsFunc(actionRules, func(row ActionRule) bool { return row.Action == c })
}

// EndRefused ends an intent that is refused, and says so in the audit.
func EndRefused(i journal.Intent, why *ActionError, at time.Time) journal.IntentEnd {
	end := EndAction(i, why.Result, why.Message, at)
	if why.Note != "" {
		end.Audit.Detail += ", " + why.Note
	}
	return end
}

// EndAction ends an intent with a result, and says so in the audit.
func EndAction(i journal.Intent, r Result, words string, at time.Time) journal.IntentEnd {
	row := ResultOf(r)
	if words == "" {
		words = row.Text
	}
	if i.Operation != uuid.Nil && slices.Contains(tokenRefusals, r) {
		words += " The operation still waits for a person."
	}
	detail := string(r)
	if i.MerchantID != "" {
		detail += ", merchant id " + i.MerchantID
	}
	return journal.IntentEnd{
		ID: i.ID, State: row.State, Result: string(r), Detail: words,
		Audit: journal.AuditEntry{At: at, Actor: i.Actor, Act: i.Act + "." + row.State.String(), Subject: ActionSubject(i), Detail: detail},
	}
}

// EndRestored returns the rule for an intent that still waits in a restored journal: it
// ends, because it may have been performed since the copy was made, and a probe must not
// be made twice. False for one that brings a token: there may be no other copy of it.
func EndRestored(at time.Time) func(journal.Intent) (journal.IntentEnd, bool) {
	return func(i journal.Intent) (journal.IntentEnd, bool) {
		return EndAction(i, ResultRestored, "", at), i.Sealed == nil
	}
}

// ActionSubject names what an intent is about, for the audit.
func ActionSubject(i journal.Intent) string {
	switch {
	case i.Operation != uuid.Nil:
		return i.Operation.String()
	case i.Shop != "":
		return i.Account + "/" + i.Shop
	}
	return "account/" + i.Account
}
