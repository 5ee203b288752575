/* The approve-execute-stop handshake between supervisor and couch, over a line that loses, doubles and reorders.
 *
 * What is modelled: docs/protocol.md sections 2 to 4 and 6 (session, sequence with reply cache, epoch, STOP, PLAN_UPLOAD,
 * EXECUTE) and the supervisor's rule (compare the couch's digest, execute an approval once, void on STOP, forget on restart).
 * What is not: time (deadlines, expiry, and the leases that end a motion when the supervisor has died), CRC (a damaged frame is a lost one), the limits of numbers.
 *
 * Properties, in words:
 *   P1  The couch moves only by a plan that people approved, as it was approved.
 *   P2  One approval moves at most once.
 *   P3  After the couch has taken a STOP (for the first time), nothing that was ordered before it starts to move.
 *   P4  A couch that has taken a STOP stands still until something that was ordered after it.
 *   P5  After the couch has taken a new session (supervisor restarted, link lost), nothing ordered in an older one starts.
 *
 * Measures can be taken out, and must then be missed:
 *   -DNO_DIGEST              the supervisor does not compare digests                        violates P1
 *   -DNO_CACHE               the couch executes a repeated sequence number again            violates P2
 *   -DNO_ONCE                the plan outlives its arrival, the supervisor asks again       violates P2
 *   -DNO_EPOCH -DNO_VOID     the couch neither compares epochs nor voids its plan on STOP   violates P3
 *   -DNO_EPOCH -DNO_LOOK     the couch does not compare epochs, the supervisor ignores them violates P3
 * Epoch and void back one another up: either alone keeps the properties here. So does a new session without its number
 * (-DNO_SESSION): it voids the plan, and an old EXECUTE then names a nonce that is gone; comparing the number keeps old
 * frames from using up sequence numbers of the new session.
 */

#define PLANS 2          /* approvals that people give in one run; 0 is none */
#define BAD 9            /* what a couch decodes that decodes wrongly */
#define WINDOW 2         /* frames under way in one direction */

mtype = { HELLO, HELLO_ACK, UPLOAD, UPLOADED, EXECUTE, EXECUTED, REFUSED, STOP, STOPPED };

/* type, session, sequence, epoch, plan (of a reply: what the couch decoded), nonce */
chan to_couch = [WINDOW] of { mtype, byte, byte, byte, byte, byte };
chan to_host = [WINDOW] of { mtype, byte, byte, byte, byte, byte };

/* Books of the model; nobody acts on them. */
bool approved[PLANS + 1];
bool ordered[PLANS + 1];      /* an order under this approval was sent */
bool dead[PLANS + 1];         /* ordered before a STOP, or before a new session, that the couch has taken */
byte moved[PLANS + 1];

/* The couch. */
byte session_now = 0;
byte sessions = 0;
byte epoch = 0;
byte expected = 1;
byte plan = 0;                /* what it decoded */
byte plan_of = 0;             /* whose approval it came with */
byte nonce = 0;
byte nonces = 0;
bool armed = false;
bool moving = false;
mtype cached = REFUSED;
byte cached_seq = 0;
byte cached_plan = 0;
byte cached_nonce = 0;
byte last_stop = 0;

/* The supervisor, as far as others see it. */
byte stops = 0;
bool voided = false;
byte approvals = 0;
byte crashes = 0;

inline answer(kind, seq, what, number) {
    if
    :: nfull(to_host) -> to_host ! kind, session_now, seq, epoch, what, number
    :: full(to_host) -> skip                    /* lost */
    fi
}

inline remember(kind, seq, what, number) {
    cached = kind; cached_seq = seq; cached_plan = what; cached_nonce = number;
    expected = seq + 1;
    answer(kind, seq, what, number)
}

inline bury() {
    i = 1;
    do
    :: i <= PLANS -> dead[i] = dead[i] || ordered[i]; i++
    :: else -> break
    od
}

inline halt() {
    armed = false; moving = false;
#ifndef NO_VOID
    plan = 0; plan_of = 0; nonce = 0
#else
    skip
#endif
}

proctype Couch() {
    mtype kind; byte s, q, e, p, n;
    byte i;
end_couch:
    do
    :: atomic { to_couch ? kind, s, q, e, p, n ->
        if
        :: kind == STOP ->
            if
            :: n != last_stop -> epoch = epoch + 1; last_stop = n; bury()
            :: else -> skip        /* the same STOP again: it stops, but what was ordered after the first is younger */
            fi;
            halt();
            answer(STOPPED, 0, 0, n)
        :: kind == HELLO ->
            sessions = sessions + 1; session_now = sessions; expected = 1; cached_seq = 0;
            armed = false; moving = false; plan = 0; plan_of = 0; nonce = 0;
            bury();
            answer(HELLO_ACK, 0, 0, n)
        :: kind != STOP && kind != HELLO ->
            if
#ifndef NO_SESSION
            :: s != session_now -> answer(REFUSED, q, 0, 0)
            :: s == session_now && q == cached_seq ->
#else
            :: q == cached_seq ->
#endif
#ifndef NO_CACHE
                answer(cached, cached_seq, cached_plan, cached_nonce)
#else
                if
                :: kind == EXECUTE && n == cached_nonce -> moving = false; armed = true; plan_of = p
                :: else -> skip
                fi
#endif
#ifndef NO_SESSION
            :: s == session_now && q != cached_seq && q != expected -> answer(REFUSED, q, 0, 0)
            :: s == session_now && q != cached_seq && q == expected ->
#else
            :: q != cached_seq ->
#endif
                if
#ifndef NO_EPOCH
                :: e != epoch -> remember(REFUSED, q, 0, 0)
                :: e == epoch && kind == UPLOAD && !armed && !moving ->
#else
                :: kind == UPLOAD && !armed && !moving ->
#endif
                    if
                    :: plan = p
                    :: plan = BAD          /* decodes something else than was meant */
                    fi;
                    plan_of = p; nonces = nonces + 1; nonce = nonces;
                    remember(UPLOADED, q, plan, nonce)
#ifndef NO_EPOCH
                :: e == epoch && kind == EXECUTE && plan != 0 && n == nonce && !armed && !moving ->
#else
                :: kind == EXECUTE && plan != 0 && n == nonce && !armed && !moving ->
#endif
                    armed = true;
                    remember(EXECUTED, q, plan, nonce)
                :: else -> remember(REFUSED, q, 0, 0)
                fi
            fi
        fi }

    /* Somebody holds the enable: an armed couch starts to move. */
    :: atomic { armed && !moving ->
        moving = true;
        assert(plan == plan_of);                         /* P1: as approved */
        assert(approved[plan_of]);                       /* P1 */
        assert(!dead[plan_of]);                          /* P3, P4, P5 */
        moved[plan_of] = moved[plan_of] + 1;
        assert(moved[plan_of] <= 1) }                    /* P2 */

    /* It arrives: the plan is void. */
    :: atomic { moving -> moving = false; armed = false;
#ifndef NO_ONCE
        plan = 0; plan_of = 0; nonce = 0
#endif
        }
    od
}

/* The supervisor with its driver. It may be killed at any step and begins again with nothing. */
proctype Host() {
    byte mine = 0, seq = 0, epoch_known = 0, current = 0, number = 0, hello = 0;
    byte tries = 0;
    mtype kind; byte s, q, e, p, n;

begin:
    atomic {
        mine = 0; seq = 0; current = 0; number = 0; tries = 0; hello = hello + 1
    }
    if
    :: hello <= 2 -> to_couch ! HELLO, 0, 0, 0, 0, hello
    :: else -> goto end_host
    fi;
    do
    :: to_host ? kind, s, q, e, p, n ->
        if
        :: kind == HELLO_ACK && n == hello ->
            mine = s; epoch_known = e; voided = false; break
        :: else -> skip
        fi
    :: timeout -> goto end_host
    od;

idle:
    if
    :: approvals < PLANS ->                              /* people approve; one approval, one plan */
        atomic {
            approvals = approvals + 1; current = approvals; approved[current] = true;
            voided = false; tries = 0; seq = seq + 1; ordered[current] = true
        }
    :: goto end_host
    fi;

upload:
    to_couch ! UPLOAD, mine, seq, epoch_known, current, 0;
wait_upload:
    if
    :: voided -> goto idle
    :: to_host ? kind, s, q, e, p, n ->
#ifndef NO_LOOK
        if
        :: s == mine && e != epoch_known -> epoch_known = e; goto idle    /* stopped from elsewhere: void */
        :: else -> skip
        fi;
#endif
        if
        :: kind == UPLOADED && s == mine && q == seq ->
#ifndef NO_DIGEST
            if
            :: p == current -> number = n
            :: else -> goto idle                         /* another digest: never executed */
            fi
#else
            number = n
#endif
        :: kind == REFUSED && s == mine && q == seq -> goto idle
        :: else -> goto wait_upload
        fi
    :: tries < 1 -> tries = tries + 1; goto upload       /* retransmit: same sequence number */
    :: goto lost
    :: crashes < 1 -> goto crash
    fi;

    /* Once: it counts as executed before it leaves. A STOP in between wins. */
    atomic {
        if
        :: voided -> goto idle
        :: else -> seq = seq + 1; tries = 0
        fi
    }
execute:
    to_couch ! EXECUTE, mine, seq, epoch_known, current, number;
wait_execute:
    if
    :: voided -> goto idle
    :: to_host ? kind, s, q, e, p, n ->
#ifndef NO_LOOK
        if
        :: s == mine && e != epoch_known -> epoch_known = e; goto idle    /* stopped from elsewhere: void */
        :: else -> skip
        fi;
#endif
        if
        :: kind == EXECUTED && s == mine && q == seq ->
#ifdef NO_ONCE
            if
            :: tries < 1 -> tries = 1; seq = seq + 1; goto execute
            :: else -> goto idle
            fi
#else
            goto idle
#endif
        :: kind == REFUSED && s == mine && q == seq -> goto idle
        :: else -> goto wait_execute
        fi
    :: tries < 1 -> tries = tries + 1; goto execute
    :: goto lost
    :: crashes < 1 -> goto crash
    fi;

crash:
    crashes = crashes + 1;
    goto begin;
lost:
    goto begin;                                          /* a lost link: a new session, and nothing is resumed */
end_host:
    do
    :: to_host ? kind, s, q, e, p, n
    od
}

/* Anybody may stop, at any time: through the supervisor, which voids first, or at the couch alone. */
proctype Person() {
    do
    :: stops < 1 ->
        atomic {
            stops = stops + 1;
            if
            :: voided = true
            :: skip
            fi
        };
        to_couch ! STOP, 0, 0, 0, 0, stops
    :: break
    od
}

/* The line: frames are lost, doubled, and overtake one another. */
proctype Line() {
    mtype kind; byte s, q, e, p, n;
    byte harm = 0;
end_line:
    do
    :: atomic { harm < 1 && nempty(to_couch) -> to_couch ? kind, s, q, e, p, n; harm++ }           /* lost */
    :: atomic { harm < 1 && len(to_couch) > 1 ->
        to_couch ? kind, s, q, e, p, n; to_couch ! kind, s, q, e, p, n; harm++ }                   /* overtaken */
    :: atomic { harm < 1 && nempty(to_couch) && nfull(to_couch) ->
        to_couch ? <kind, s, q, e, p, n>; to_couch ! kind, s, q, e, p, n; harm++ }                 /* doubled */
    :: atomic { harm < 1 && nempty(to_host) -> to_host ? kind, s, q, e, p, n; harm++ }
    od
}

init {
    atomic { run Couch(); run Host(); run Person(); run Line() }
}
