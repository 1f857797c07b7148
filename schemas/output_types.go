package schemas

import (
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
)

// Data is the data of a published event: one of the structs of this package, by value.
type Data interface {
	// Type returns the event's type, one of OutputTypes().
	Type() string
	// Shop returns the account and the shop that the event is about. Both are empty for a dead letter.
	Shop() (account, shop string)

	// inUTC puts the times into UTC, so that one instant has one spelling.
	inUTC() Data
	// fault names the first member that breaks the contract; empty if none does.
	fault() string
}

// CredentialsData is the data of an event that refers to credentials.
type CredentialsData interface {
	Data
	// Reference returns where the credentials are kept.
	Reference() Credentials
}

// An outputType is a type of published events and what decodes its data.
type outputType struct {
	name   string
	decode func([]byte) (Data, error)
}

// outputTypes has every type of published events, in a fixed order.
var outputTypes = []outputType{
	{TypeInvited, decodeData[Invited]},
	{TypeInvitationFailed, decodeData[InvitationFailed]},
	{TypeActivated, decodeData[Activated]},
	{TypeActivationFailed, decodeData[ActivationFailed]},
	{TypeCredentialsVerified, decodeData[CredentialsVerified]},
	{TypeCredentialsInvalid, decodeData[CredentialsInvalid]},
	{TypeDisconnected, decodeData[Disconnected]},
	{TypeUnanswered, decodeData[Unanswered]},
	{TypeDeadLetter, decodeData[DeadLetter]},
}

func decodeData[T Data](data []byte) (Data, error) {
	var d T
	if err := json.Unmarshal(data, &d); err != nil {
		// The text of err may quote the data.
		return nil, errEvent("data")
	}
	return d, nil
}

// outputDecoder returns what decodes the data of a type; nil for a type that is not published.
func outputDecoder(typ string) func([]byte) (Data, error) {
	for _, t := range outputTypes {
		if t.name == typ {
			return t.decode
		}
	}
	return nil
}

func decodeOutputData(typ string, data []byte) (Data, error) {
	decode := outputDecoder(typ)
	if decode == nil {
		return nil, errEvent("type")
	}
	return decode(data)
}

// keys gives the record's key and the event's subject.
func keys(data Data) (key, subject string) {
	if d, ok := data.(DeadLetter); ok {
		key = d.Topic + "/" + strconv.Itoa(d.Partition)
		return key, key + "/" + strconv.FormatInt(d.Offset, 10)
	}
	_, shop := data.Shop()
	return shop, shop
}

// Type returns [TypeInvited].
func (Invited) Type() string { return TypeInvited }

// Shop returns the account and the shop.
func (d Invited) Shop() (account, shop string) { return d.PartnerAccount, d.ShopID }

func (d Invited) inUTC() Data {
	d.InvitedAt = d.InvitedAt.UTC()
	return d
}

func (d Invited) fault() string {
	return firstError(checkShop(d),
		errIf("invitationId", d.InvitationID == "" || checkRunes(d.InvitationID, MaxInvitationChars) == ""),
		errIf("invitedAt", validTime(d.InvitedAt)),
		errIf("outcome", slices.Contains(invitationOutcomes, d.Outcome)))
}

// Type returns [TypeInvitationFailed].
func (InvitationFailed) Type() string { return TypeInvitationFailed }

// Shop returns the account and the shop.
func (d InvitationFailed) Shop() (account, shop string) { return d.PartnerAccount, d.ShopID }

func (d InvitationFailed) inUTC() Data { return d }

func (d InvitationFailed) fault() string {
	return firstError(checkShop(d), checkFailure(d, d.Reason, d.Action))
}

// Type returns [TypeActivated].
func (Activated) Type() string { return TypeActivated }

// Shop returns the account and the shop.
func (d Activated) Shop() (account, shop string) { return d.PartnerAccount, d.ShopID }

// Reference returns where the credentials are kept.
func (d Activated) Reference() Credentials { return d.Credentials }

func (d Activated) inUTC() Data {
	d.ActivatedAt = d.ActivatedAt.UTC()
	return d
}

func (d Activated) fault() string {
	return firstError(checkShop(d),
		errIf("merchantId", checkRunes(d.MerchantID, MaxMerchantChars) == ""),
		errIf("activatedAt", validTime(d.ActivatedAt)),
		errIf("verification", slices.Contains(verifications, d.Verification)),
		checkReference(d))
}

// Type returns [TypeActivationFailed].
func (ActivationFailed) Type() string { return TypeActivationFailed }

// Shop returns the account and the shop.
func (d ActivationFailed) Shop() (account, shop string) { return d.PartnerAccount, d.ShopID }

func (d ActivationFailed) inUTC() Data { return d }

func (d ActivationFailed) fault() string {
	return firstError(checkShop(d), checkFailure(d, d.Reason, d.Action))
}

// Type returns [TypeCredentialsVerified].
func (CredentialsVerified) Type() string { return TypeCredentialsVerified }

// Shop returns the account and the shop.
func (d CredentialsVerified) Shop() (account, shop string) { return d.PartnerAccount, d.ShopID }

// Reference returns where the credentials are kept.
func (d CredentialsVerified) Reference() Credentials { return d.Credentials }

func (d CredentialsVerified) inUTC() Data {
	d.CheckedAt = d.CheckedAt.UTC()
	return d
}

func (d CredentialsVerified) fault() string {
	return firstError(checkShop(d), checkReference(d), errIf("checkedAt", validTime(d.CheckedAt)))
}

// Type returns [TypeCredentialsInvalid].
func (CredentialsInvalid) Type() string { return TypeCredentialsInvalid }

// Shop returns the account and the shop.
func (d CredentialsInvalid) Shop() (account, shop string) { return d.PartnerAccount, d.ShopID }

// Reference returns where the credentials are kept.
func (d CredentialsInvalid) Reference() Credentials { return d.Credentials }

func (d CredentialsInvalid) inUTC() Data {
	d.CheckedAt = d.CheckedAt.UTC()
	return d
}

func (d CredentialsInvalid) fault() string {
	return firstError(checkShop(d), checkReference(d), errIf("checkedAt", validTime(d.CheckedAt)))
}

// Type returns [TypeDisconnected].
func (Disconnected) Type() string { return TypeDisconnected }

// Shop returns the account and the shop.
func (d Disconnected) Shop() (account, shop string) { return d.PartnerAccount, d.ShopID }

func (d Disconnected) inUTC() Data {
	d.DisconnectedAt, d.DestroyAfter = d.DisconnectedAt.UTC(), d.DestroyAfter.UTC()
	return d
}

func (d Disconnected) fault() string {
	return firstError(checkShop(d), errIf("disconnectedAt", validTime(d.DisconnectedAt)),
		errIf("destroyAfter", d.DestroyAfter.IsZero() || validTime(d.DestroyAfter)))
}

// Type returns [TypeUnanswered].
func (Unanswered) Type() string { return TypeUnanswered }

// Shop returns the shop that was invited.
func (d Unanswered) Shop() (account, shop string) { return d.PartnerAccount, d.ShopID }

func (d Unanswered) inUTC() Data {
	d.InvitedAt = d.InvitedAt.UTC()
	return d
}

func (d Unanswered) fault() string {
	return firstError(checkShop(d), errIf("invitationId", d.InvitationID == "" || checkRunes(d.InvitationID, MaxInvitationChars) == ""),
		errIf("invitedAt", validTime(d.InvitedAt)), errIf("reminder", d.Reminder >= 1 && d.Reminder <= MaxReminders))
}

// Type returns [TypeDeadLetter].
func (DeadLetter) Type() string { return TypeDeadLetter }

// Shop returns nothing: the record could not be read.
func (DeadLetter) Shop() (account, shop string) { return "", "" }

func (d DeadLetter) inUTC() Data {
	d.Time = d.Time.UTC()
	return d
}

func (d DeadLetter) fault() string {
	return firstError(errIf("topic", validTopic(d.Topic)),
		errIf("partition", d.Partition >= 0 && d.Partition <= maxPartition),
		errIf("offset", d.Offset >= 0),
		errIf("eventId", d.EventID == "" || checkText(d.EventID, MaxIDBytes) == ""),
		errIf("reason", isReason(d.Reason)),
		errIf("where", d.Where == "" || checkText(d.Where, MaxWhereBytes) == ""),
		errIf("time", validTime(d.Time)))
}
