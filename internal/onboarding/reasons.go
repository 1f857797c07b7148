package onboarding

// A Reason says why an operation or a breaker is in its state. The set is closed:
// reasons are stored, and they are metric labels.
type Reason string

// Reasons of ended operations.
const (
	ReasonActivated      Reason = "activated"
	ReasonSent           Reason = "sent"
	ReasonAlreadyInvited Reason = "already_invited"
	ReasonAlreadyActive  Reason = "already_active"
	ReasonRefusedAddress Reason = "address_rejected"
	ReasonRefusedCode    Reason = "code_rejected"
	ReasonExpired        Reason = "expired"
	ReasonNewerAddress   Reason = "newer_address"
	ReasonClosed         Reason = "closed"
	ReasonNewerCode      Reason = "newer_code"
	ReasonKeptToken      Reason = "kept_token"
	ReasonDeselected     Reason = "deselected"
	ReasonDisconnected   Reason = "disconnected"
	ReasonImported       Reason = "imported"
)

// Reasons of operations that wait, are planned again, or are on their way.
const (
	ReasonNotExecuted         Reason = "not_executed"
	ReasonLimited             Reason = "limited"
	ReasonProbablyNotExecuted Reason = "probably_not_executed"
	ReasonUnauthorized        Reason = "unauthorized"
	ReasonNotSent             Reason = "not_sent"
	ReasonNoPermit            Reason = "no_permit"
	ReasonCircuitOpen         Reason = "circuit_open"
	ReasonStoreNotReady       Reason = "store_not_ready"
	ReasonDrained             Reason = "drained"
	ReasonNoProof             Reason = "no_proof"
	ReasonProbe               Reason = "probe"
	ReasonOnceMore            Reason = "once_more"
	ReasonNewerFirst          Reason = "newer_first"
	ReasonActivationFirst     Reason = "activation_first"
	ReasonAddressCoolDown     Reason = "address_cool_down"
	ReasonVersionTaken        Reason = "version_taken"
	ReasonTokenUnanswered     Reason = "token_unanswered"
	ReasonTokenRefused        Reason = "token_refused"
	ReasonRetried             Reason = "retried"
	ReasonRestored            Reason = "restored"
	ReasonKeyMissing          Reason = "key_missing"
)

// Reasons of attention; the table in attention.go says what each means.
const (
	ReasonOutcomeUnknown     Reason = "outcome_unknown"
	ReasonOutcomeLost        Reason = "outcome_lost"
	ReasonRequestRejected    Reason = "request_rejected"
	ReasonAnswerUnreadable   Reason = "answer_unreadable"
	ReasonMerchantConflict   Reason = "merchant_conflict"
	ReasonStoreConflict      Reason = "store_conflict"
	ReasonCredentialsInvalid Reason = "credentials_invalid"
	ReasonSecondToken        Reason = "second_token"
	ReasonCodeOfOtherShop    Reason = "code_of_other_shop"
	ReasonSubjectUnreadable  Reason = "subject_unreadable"
	ReasonCredentialsLost    Reason = "credentials_lost"
	ReasonAnswerNotAuthentic Reason = "answer_not_authentic"
)

// Reasons of breakers.
const (
	ReasonServerFaults Reason = "server_faults"
	ReasonToken        Reason = "token"
	ReasonRights       Reason = "rights"
	ReasonAddress      Reason = "address"
	ReasonPartner      Reason = "partner_id"
	ReasonRequest      Reason = "request"
	ReasonOperator     Reason = "operator"
	ReasonSettings     Reason = "settings_changed"
	ReasonRefusals     Reason = "refusals"
	ReasonAnswers      Reason = "answers"
)
