// Package hl7 reads and answers HL7 v2 messages, and makes exam records of them; it does no I/O.
//
//	bytes of a connection -> Scanner -> frame -> [ Parse -> Message ] -> Get, Text, Identity, Reply
//	                                                     '-> Message.Exams, with a Mapping -> exams, attachments, rejects
//
// A Message is a view of the caller's bytes: nothing is copied, and Bytes gives back what came in. Delimiters are those
// of its MSH segment. Sources: HL7 v2.5.1 chapters 2 and 7, HL7 v2.8.2 chapter 2, MLLP release 1 and 2, IHE PCD-01.
package hl7

import "errors"

// What Parse may find wrong; Decode makes rejects of them.
var (
	// ErrEmpty says that there is nothing but blanks and line ends.
	ErrEmpty = errors.New("message is empty")
	// ErrNotHL7 says that the first segment is no MSH segment with delimiters.
	ErrNotHL7 = errors.New("message does not begin with an MSH segment")
	// ErrBatch says that it is a batch or holds several MSH segments: take it apart with Messages.
	ErrBatch = errors.New("several messages or a batch in one")
	// ErrTooLarge says that it has more bytes than MaxMessage.
	ErrTooLarge = errors.New("message is too large")
)

// MaxMessage is the longest message that Parse takes, in bytes.
const MaxMessage = 1 << 30
