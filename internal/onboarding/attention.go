package onboarding

import (
	"strings"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// An AttentionRow says what a reason of attention means.
type AttentionRow struct {
	Reason    Reason
	Kinds     []journal.Kind
	Certain   string
	Uncertain string // empty: nothing
	Do        string // where no cause of a refusal says more
	// Failure is the event that is published when it comes to this; action and
	// final are the contract's. Empty: none.
	Failure schemas.FailureReason
	// Actions are safe; InDoubt, where it is not nil, takes their place for an
	// operation of which an attempt may have been executed. See Safe.
	Actions []Action
	InDoubt []Action
	// Executed: the code counts as spent. When a person closes it, the same code is
	// not sent again.
	Executed bool
	// Supersedable: one in doubt without an answer is superseded when a newer code
	// of the shop, or address, succeeds: nobody has to look any more.
	Supersedable bool
}

var attention = []AttentionRow{
	{ReasonOutcomeUnknown, []journal.Kind{journal.Invite, journal.Activate},
		"A request may have been sent, and no response proves its outcome.",
		"Whether it was executed: whether an e-mail was sent, or the code is spent.",
		"Ask Invoicebox's support for the outcome of the request, then enter merchant id and token, or close. `operations probe` sends the request once more.",
		schemas.FailureOutcomeUnknown, []Action{ActionProbe, ActionSetCredentials, ActionClose}, nil, false, true},
	{ReasonOutcomeLost, []journal.Kind{journal.Activate},
		"Invoicebox refuses the code now, and an earlier request may have been executed.",
		"Whether that earlier request spent it; if so its answer is lost, or the code never was good.",
		"Let the shop ask for a new code: its success ends this operation. Or ask Invoicebox's support for merchant id and token, and enter them.",
		schemas.FailureOutcomeLost, []Action{ActionSetCredentials, ActionClose}, nil, false, true},
	{ReasonRequestRejected, []journal.Kind{journal.Invite, journal.Activate},
		"Invoicebox refused in a form that blames our request, rights or address, not the shop's value; this request had no effect.",
		"What is wrong; the status and code of the response may show it.",
		"Compare the status and code of the response with the documentation of the API. When the cause is removed, run `operations retry --all --reason request_rejected`.",
		schemas.FailureRequestRejected, []Action{ActionRetry, ActionClose}, []Action{ActionProbe, ActionSetCredentials, ActionClose}, false, true},
	{ReasonAnswerUnreadable, []journal.Kind{journal.Activate},
		"The response has the status of a success, and no merchant id and token could be read from it. The response is stored unchanged, and the code is not sent again.",
		"Whether Invoicebox executed the activation, so that the code is spent; another server, such as a gateway, may have answered. Whether the response contains merchant id and token in a form that an operator can read.",
		"Read the response with `operations response`. If it is not from Invoicebox, check --invoicebox-url and the gateways in between. If it contains merchant id and token, enter them.",
		schemas.FailureAnswerUnreadable, []Action{ActionReread, ActionSetCredentials, ActionClose}, nil, true, false},
	{ReasonMerchantConflict, []journal.Kind{journal.Activate},
		"The activation was executed; its merchant is not the shop's known one, or is another shop's. Nothing was announced; the answer is kept.",
		"Which of the two is right.",
		"`operations response` shows the merchant id of the response, and `shops show` the one of a shop. Ask Invoicebox to which shop it belongs. If it belongs to this shop alone, enter it with its token; else close, and give the shop a code of its own.",
		schemas.FailureMerchantConflict, []Action{ActionReread, ActionSetCredentials, ActionClose}, nil, true, false},
	{ReasonStoreConflict, []journal.Kind{journal.Activate},
		"The activation was executed; the credential store has a secret at the shop's path that this service did not write. It was not overwritten. Nothing was announced; the response is kept.",
		"Who wrote that secret, and whether somebody needs it.",
		"The log names the path and the version. Find out who wrote it: another worker with another keyset, or a person. Move it elsewhere if it is needed, delete that version, and run `operations reread`.",
		schemas.FailureStoreConflict, []Action{ActionReread, ActionSetCredentials, ActionClose}, nil, true, false},
	{ReasonCredentialsInvalid, []journal.Kind{journal.Activate},
		"The activation was executed and its token is stored; Invoicebox refused that token for the whole verification time.",
		"Whether the token starts to work later.",
		"Ask Invoicebox's support why the token does not work; `operations retry` checks it again.",
		schemas.FailureCredentialsInvalid, []Action{ActionRetry, ActionSetCredentials, ActionClose}, nil, true, false},
	{ReasonSecondToken, []journal.Kind{journal.Activate},
		"The operation had ended, and a late answer to one of its requests was executed with another token than the one in use; all answers are kept.",
		"Which of the tokens Invoicebox accepts from now on.",
		"Ask Invoicebox's support which token is valid. Enter that one, or close to continue with the one in use.",
		schemas.FailureSecondToken, []Action{ActionSetCredentials, ActionClose}, nil, true, false},
	{ReasonCodeOfOtherShop, []journal.Kind{journal.Activate},
		"The code was entered for another shop before; nothing was sent for this one.",
		"Which shop the code is meant for.",
		"Find out to which shop Invoicebox sent the code, and close. A shop without a code of its own needs a new one.",
		schemas.FailureCodeOfOtherShop, []Action{ActionClose}, nil, false, false},
	{ReasonSubjectUnreadable, []journal.Kind{journal.Invite, journal.Activate},
		"The stored address or code does not open for this operation, or is not the one that its look-up MAC is made of; nothing was sent in this run.",
		"Whether the row was moved or edited in the database, or is damaged: compare it with a backup, and find out who can write the database.",
		"Restore the row, or close; then the shop has to enter the address or code again.",
		"", []Action{ActionRetry, ActionClose}, []Action{ActionProbe, ActionSetCredentials, ActionClose}, false, true},
	{ReasonAnswerNotAuthentic, []journal.Kind{journal.Activate},
		"The stored answer or the stored credentials do not open for this operation and shop, or the merchant id or reference beside them differs; nothing was published as active. The journal says that the activation was executed.",
		"Whether the row was moved or edited in the database, or is damaged: compare it with a backup, and find out who can write the database. Whether the code is spent.",
		"Ask Invoicebox's support for merchant id and token, and enter them; or close, and let the shop ask for a new code.",
		schemas.FailureAnswerUnreadable, []Action{ActionSetCredentials, ActionClose}, nil, true, false},
	{ReasonCredentialsLost, []journal.Kind{journal.Activate},
		"The activation was executed, and its answer or its secret was in a journal that was lost; the result topics say so. The code is spent.",
		"Whether the token, which is nowhere any more, still works.",
		"Let the shop ask for a new code, or ask Invoicebox's support for merchant id and token, and enter them.",
		schemas.FailureCredentialsLost, []Action{ActionSetCredentials, ActionClose}, nil, true, false},
}

// UncertainOf returns what is uncertain about an operation in the row's attention. If
// explained, the cause of the refusal is known and is left out.
func (row AttentionRow) UncertainOf(doubt, explained bool) string {
	words := row.Uncertain
	if row.Reason == ReasonRequestRejected && explained {
		words = ""
	}
	if doubt && row.InDoubt != nil {
		words = strings.TrimSpace(words + " Whether an earlier request was executed.")
	}
	return words
}

// AttentionRows returns the table of attention, for commands and documents.
func AttentionRows() []AttentionRow { return append([]AttentionRow(nil), attention...) }

// AttentionOf finds the row of a reason.
func AttentionOf(r Reason) (AttentionRow, bool) {
	for _, row := range attention {
		if row.Reason == r {
			return row, true
		}
	}
	return AttentionRow{}, false
}

// SupersedableReasons are the reasons of attention that a newer code or address ends.
func SupersedableReasons() (reasons []string) {
	for _, row := range attention {
		if row.Supersedable {
			reasons = append(reasons, string(row.Reason))
		}
	}
	return reasons
}

// NeverSentReasons are the reasons of attention that end when the shop became active
// by a code of its own: nothing was sent for them, and nobody waits for them.
func NeverSentReasons() []string { return []string{string(ReasonCodeOfOtherShop)} }

// mayFollowAnotherFailure tells whether an event of the same type may have been published in
// the operation's run before: it rests on an answer that may have come late.
func mayFollowAnotherFailure(op journal.ClaimedOperation, r Reason) bool {
	switch r {
	case ReasonSecondToken, ReasonCredentialsLost:
		return true
	case ReasonAnswerUnreadable, ReasonAnswerNotAuthentic, ReasonMerchantConflict, ReasonStoreConflict, ReasonCredentialsInvalid:
		return op.Doubt
	}
	return false
}

// AttentionFailure is the event that a reason asks for, "" for none.
func AttentionFailure(r Reason) schemas.FailureReason {
	row, _ := AttentionOf(r)
	return row.Failure
}
