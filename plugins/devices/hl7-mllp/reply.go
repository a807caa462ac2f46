package main

import (
	"strconv"
	"time"

	"github.com/hostd/hostd/core/protocols/hl7"
	"github.com/hostd/hostd/core/sdk"
)

// Bytes of MLLP: VT message FS CR, and what stands for the message in an answer at commit level (HL7 MLLP release 2).
const (
	vt  = "\x0b"
	fs  = "\x1c"
	cr  = "\r"
	ack = "\x06"
	nak = "\x15"
)

// reply is how a message is answered when its verdict has come.
type reply struct {
	to     *hl7.Message // nil where it could not be read
	source *source
	code   hl7.AckCode // what its content deserves: AA, AE or AR
	err    hl7.ErrCode
	at     string // where it is wrong, as ERR-2
	text   string // for MSA-3
	none   bool   // nobody waits for one
}

// silent is the reply to what was no message.
var silent = reply{none: true}

// append adds the frames of the answer. It is false where the connection must be closed instead.
func (r *reply) append(out []byte, v sdk.Reason, s *session) ([]byte, bool) {
	switch {
	case r.none:
		return out, true
	case v != stored:
		return r.appendNotStored(out, s)
	}
	if r.source.Reply != replyHL7 {
		out = append(out, vt+ack+fs+cr...)
	}
	if r.source.Reply == replyCommit {
		return out, true
	}
	accept, application, enhanced := r.modes()
	if !enhanced {
		return r.appendMessage(out, s, r.code), true
	}
	// HL7 v2.5.1, 2.9.3: the accept reply, then the application's, which is a message of its own.
	if r.code == hl7.AR {
		switch {
		case wanted(accept, false):
			out = r.appendMessage(out, s, hl7.CR)
		case wanted(application, false): // who asks for this one alone must not wait in vain
			out = r.appendMessage(out, s, hl7.AR)
		}
		return out, true
	}
	if wanted(accept, true) {
		out = r.appendMessage(out, s, hl7.CA)
	}
	if wanted(application, r.code == hl7.AA) {
		out = r.appendMessage(out, s, r.code)
	}
	return out, true
}

// appendNotStored answers a message that the host could not store. Senders differ: some repeat after a negative answer, some
// do not; all of them repeat after none.
func (r *reply) appendNotStored(out []byte, s *session) ([]byte, bool) {
	if r.source.Reply != replyHL7 {
		return append(out, vt+nak+fs+cr...), true
	}
	if r.source.NotStored == notStoredClose {
		return out, false
	}
	code := hl7.AckCode(r.source.NotStored)
	if accept, _, enhanced := r.modes(); enhanced {
		if code = hl7.CE; !wanted(accept, false) {
			return out, false
		}
	}
	not := reply{to: r.to, source: r.source, err: hl7.ErrInternal, text: "not stored"}
	return not.appendMessage(out, s, code), true
}

// modes are MSH-15 and MSH-16. Enhanced says that one of them is there.
func (r *reply) modes() (accept, application string, enhanced bool) {
	if r.to == nil {
		return "", "", false
	}
	accept, application = string(r.to.Header(15)), string(r.to.Header(16))
	return accept, application, accept+application != ""
}

// wanted says whether a mode asks for a reply (HL7 table 0155). In enhanced mode an empty one is never.
func wanted(mode string, success bool) bool {
	switch mode {
	case "", "NE":
		return false
	case "ER":
		return !success
	case "SU":
		return success
	}
	return true
}

func (r *reply) appendMessage(out []byte, s *session, code hl7.AckCode) []byte {
	receipt := hl7.Receipt{ControlID: strconv.FormatInt(s.replies.Add(1), 36), Time: time.Now()}
	if !code.OK() {
		receipt.Text, receipt.Err, receipt.At = r.text, r.err, r.at
	}
	out = append(out, vt...)
	return append(hl7.AppendReply(out, r.to, code, receipt), fs+cr...)
}
