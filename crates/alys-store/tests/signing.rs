//! The signing record, on disk and on a file that crashes.

use alys_primitives::{B256, Height, PublicKeyBytes, Root, Slot};
use alys_store::signing::{
    Duty, Interchange, InterchangeError, RecordDamage, RecordFile, RecordIdentity, Refusal, SignedApproval, SignedSlot,
    SigningError, SigningRecord, Watermarks,
};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const HEADER: usize = 128;
const ENTRY: usize = 64;

fn identity() -> RecordIdentity {
    RecordIdentity { genesis_root: Root::repeat_byte(1), public_key: PublicKeyBytes::repeat_byte(2) }
}

fn root(number: u8) -> B256 {
    B256::repeat_byte(number)
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("signing-record");
    (folder, path)
}

fn create(path: &Path) -> SigningRecord {
    SigningRecord::create(path, &identity(), &Watermarks::default()).expect("created")
}

fn open(path: &Path) -> Result<SigningRecord, SigningError> {
    SigningRecord::open(path, &identity())
}

#[test]
fn one_proposal_and_one_approval_per_slot() {
    let (_folder, path) = fresh();
    let mut record = create(&path);
    let permit = record.permit_proposal(Slot(5), root(1)).expect("first");
    assert_eq!((permit.duty(), permit.slot(), permit.signing_root()), (Duty::Proposal, Slot(5), root(1)));
    let _same = record.permit_proposal(Slot(5), root(1)).expect("the same again");
    assert!(matches!(record.permit_proposal(Slot(5), root(2)), Err(Refusal::Conflict { .. })));
    assert!(matches!(record.permit_proposal(Slot(4), root(1)), Err(Refusal::Old { last: Slot(5), .. })));

    let _first = record.permit_approval(Slot(5), Height(3), root(3)).expect("duties are apart");
    let _same = record.permit_approval(Slot(5), Height(3), root(3)).expect("the same again");
    assert!(matches!(record.permit_approval(Slot(5), Height(3), root(4)), Err(Refusal::Conflict { .. })));
    assert!(matches!(record.permit_approval(Slot(4), Height(3), root(3)), Err(Refusal::Old { .. })));
    let lower = record.permit_approval(Slot(6), Height(2), root(5));
    assert!(matches!(lower, Err(Refusal::Lower { greatest: Height(3), .. })));
    let _next = record.permit_approval(Slot(6), Height(3), root(5)).expect("an equal parent height");
}

#[test]
fn refusals_hold_after_a_restart() {
    let (_folder, path) = fresh();
    let mut record = create(&path);
    let _first = record.permit_proposal(Slot(7), root(1)).expect("first");
    let _first = record.permit_approval(Slot(7), Height(6), root(2)).expect("first");
    drop(record);
    let mut record = open(&path).expect("opens");
    assert!(matches!(record.permit_proposal(Slot(7), root(9)), Err(Refusal::Conflict { .. })));
    assert!(matches!(record.permit_approval(Slot(8), Height(5), root(9)), Err(Refusal::Lower { .. })));
    let _again = record.permit_proposal(Slot(7), root(1)).expect("the same again");
    let before = fs::metadata(&path).expect("there").len();
    let _again = record.permit_approval(Slot(7), Height(6), root(2)).expect("the same again");
    assert_eq!(fs::metadata(&path).expect("there").len(), before, "repetitions are not recorded");
}

#[test]
fn nothing_is_signed_without_history() {
    let (_folder, path) = fresh();
    assert!(matches!(open(&path), Err(SigningError::Missing { .. })));
    assert!(!path.exists(), "opening makes no file");
    drop(create(&path));
    let again = SigningRecord::create(&path, &identity(), &Watermarks::default());
    assert!(matches!(again, Err(SigningError::Exists { .. })));
    open(&path).expect("the first one is untouched");
}

#[test]
fn a_record_is_private_to_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = fresh();
    drop(create(&path));
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_draft_that_a_crash_left_is_no_history() {
    let (folder, path) = fresh();
    let draft = folder.path().join("signing-record.new");
    fs::write(&draft, b"half a header").expect("written");
    assert!(matches!(open(&path), Err(SigningError::Missing { .. })));
    drop(create(&path));
    assert!(!draft.exists());
    open(&path).expect("opens");
}

#[test]
fn a_record_has_one_user() {
    let (_folder, path) = fresh();
    let record = create(&path);
    assert!(matches!(open(&path), Err(SigningError::Locked { .. })));
    drop(record);
    let _record = open(&path).expect("free");
    assert!(matches!(open(&path), Err(SigningError::Locked { .. })));
}

#[test]
fn a_record_serves_one_key_on_one_chain() {
    let (_folder, path) = fresh();
    drop(create(&path));
    for other in [
        RecordIdentity { genesis_root: Root::ZERO, ..identity() },
        RecordIdentity { public_key: PublicKeyBytes::ZERO, ..identity() },
    ] {
        let error = SigningRecord::open(&path, &other).expect_err("another identity");
        assert!(matches!(error, SigningError::OtherIdentity { found, .. } if *found == identity()));
    }
}

#[test]
fn a_newer_format_is_refused() {
    let (_folder, path) = fresh();
    drop(create(&path));
    let mut bytes = fs::read(&path).expect("readable");
    bytes[8] = 2;
    let checksum = crc32fast::hash(&bytes[..HEADER - 4]);
    bytes[HEADER - 4..HEADER].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, bytes).expect("written");
    assert!(matches!(open(&path), Err(SigningError::Newer { found: 2, supported: 1, .. })));
}

/// Writes three entries and gives the file's bytes.
fn three_entries(path: &Path) -> Vec<u8> {
    let mut record = create(path);
    let _permit = record.permit_proposal(Slot(10), root(1)).expect("permitted");
    let _permit = record.permit_approval(Slot(10), Height(9), root(2)).expect("permitted");
    let _permit = record.permit_approval(Slot(11), Height(10), root(3)).expect("permitted");
    drop(record);
    fs::read(path).expect("readable")
}

#[test]
fn every_damaged_byte_is_noticed() {
    let (_folder, path) = fresh();
    let good = three_entries(&path);
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            fs::write(&path, &bytes).expect("written");
            let error = open(&path).expect_err("damaged");
            assert!(matches!(error, SigningError::Damaged { .. }), "byte {at}: {error}");
            assert_eq!(fs::read(&path).expect("readable"), bytes, "damage is not repaired away");
        }
    }
}

#[test]
fn zeroed_swapped_and_missing_entries_are_noticed() {
    let (_folder, path) = fresh();
    let good = three_entries(&path);
    let entry = |number: usize| HEADER + number * ENTRY..HEADER + (number + 1) * ENTRY;
    let mut variants = Vec::new();
    for number in 0..3 {
        let mut zeroed = good.clone();
        zeroed[entry(number)].fill(0);
        variants.push(zeroed);
    }
    let mut swapped = good.clone();
    swapped.copy_within(entry(2), HEADER);
    variants.push(swapped);
    let mut missing = good.clone();
    missing.drain(entry(1));
    variants.push(missing);
    let mut extended = good.clone();
    extended.extend_from_slice(&[0; ENTRY]);
    variants.push(extended);
    let mut trailing_zeros = good.clone();
    trailing_zeros.extend_from_slice(&[0; 10]);
    variants.push(trailing_zeros);
    let mut foreign_tail = good.clone();
    foreign_tail.extend_from_within(entry(0).start..entry(0).end - 1);
    variants.push(foreign_tail);
    variants.push(good[..HEADER - 1].to_vec());
    variants.push(Vec::new());
    for (number, bytes) in variants.into_iter().enumerate() {
        fs::write(&path, bytes).expect("written");
        let error = open(&path).expect_err("damaged");
        assert!(matches!(error, SigningError::Damaged { .. }), "variant {number}: {error}");
    }
}

#[test]
fn an_entry_of_another_record_does_not_fit() {
    let (_folder, path) = fresh();
    let good = three_entries(&path);
    let (_other_folder, other_path) = fresh();
    let other_identity = RecordIdentity { public_key: PublicKeyBytes::repeat_byte(7), ..identity() };
    drop(SigningRecord::create(&other_path, &other_identity, &Watermarks::default()).expect("created"));
    let mut mixed = fs::read(&other_path).expect("readable");
    mixed.extend_from_slice(&good[HEADER..]);
    fs::write(&other_path, mixed).expect("written");
    let error = SigningRecord::open(&other_path, &other_identity).expect_err("foreign entries");
    assert!(matches!(error, SigningError::Damaged { damage: RecordDamage::Checksum, .. }), "{error}");
}

#[test]
fn an_interrupted_append_is_cut_off_and_only_that() {
    let (_folder, path) = fresh();
    let good = three_entries(&path);
    let two = HEADER + 2 * ENTRY;
    for length in two..good.len() {
        fs::write(&path, &good[..length]).expect("written");
        let mut record = open(&path).expect("an interrupted append");
        assert_eq!(record.watermarks().approval.expect("the second").signed.slot, Slot(10));
        assert_eq!(fs::metadata(&path).expect("there").len(), two as u64);
        let _permit = record.permit_approval(Slot(11), Height(10), root(4)).expect("the third was never signed for");
        drop(record);
        open(&path).expect("whole again");
    }
}

#[test]
fn a_record_behind_the_database_is_noticed() {
    let (_folder, path) = fresh();
    let mut record = create(&path);
    assert!(matches!(record.check_covers(Duty::Proposal, Slot(3)), Err(SigningError::Behind { last: None, .. })));
    let _permit = record.permit_proposal(Slot(3), root(1)).expect("permitted");
    record.check_covers(Duty::Proposal, Slot(3)).expect("covered");
    assert!(matches!(record.check_covers(Duty::Proposal, Slot(4)), Err(SigningError::Behind { .. })));
    assert!(matches!(record.check_covers(Duty::Approval, Slot(1)), Err(SigningError::Behind { .. })));
}

/// A disk that loses what was not synced, and fails when told to.
#[derive(Clone, Default)]
struct Disk(Rc<RefCell<DiskState>>);

#[derive(Default)]
struct DiskState {
    written: Vec<u8>,
    synced: usize,
    fail_append: bool,
    fail_sync: bool,
    calls_after_failure: usize,
    failed: bool,
}

impl Disk {
    fn fail<T>(state: &mut DiskState) -> io::Result<T> {
        state.failed = true;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }

    /// What is there after a power cut: everything synced, and `kept` of the bytes that were not.
    fn after_crash(&self, kept: usize) -> Disk {
        let state = self.0.borrow();
        let length = (state.synced + kept).min(state.written.len());
        Disk(Rc::new(RefCell::new(DiskState {
            written: state.written[..length].to_vec(),
            synced: length,
            ..DiskState::default()
        })))
    }
}

impl RecordFile for Disk {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.borrow().written.len() as u64)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.0.borrow();
        let start = offset as usize;
        let bytes = state.written.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.calls_after_failure += usize::from(state.failed);
        if state.fail_append {
            state.written.extend_from_slice(&bytes[..bytes.len() / 2]);
            return Self::fail(state);
        }
        state.written.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.calls_after_failure += usize::from(state.failed);
        if state.fail_sync {
            return Self::fail(state);
        }
        state.synced = state.written.len();
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        state.written.truncate(length as usize);
        state.synced = state.written.len();
        Ok(())
    }
}

#[test]
fn after_a_failed_write_or_sync_the_record_is_poisoned() {
    for fail_sync in [true, false] {
        let disk = Disk::default();
        let mut record = SigningRecord::begin(disk.clone(), &identity()).expect("begun");
        let _permit = record.permit_proposal(Slot(1), root(1)).expect("permitted");
        {
            let mut state = disk.0.borrow_mut();
            (state.fail_sync, state.fail_append) = (fail_sync, !fail_sync);
        }
        let first = record.permit_proposal(Slot(2), root(2)).expect_err("the disk failed");
        assert!(matches!(&first, Refusal::Unrecorded(error) if error.is_fatal()), "{first:?}");
        {
            let mut state = disk.0.borrow_mut();
            (state.fail_sync, state.fail_append) = (false, false);
        }
        let poisoned = |refusal| matches!(refusal, Err(Refusal::Unrecorded(SigningError::Poisoned { .. })));
        assert!(poisoned(record.permit_proposal(Slot(2), root(2))));
        assert!(poisoned(record.permit_proposal(Slot(1), root(1))), "not even what is known to be durable");
        assert!(poisoned(record.permit_approval(Slot(9), Height(9), root(9))));
        assert!(matches!(record.raise(&Watermarks::default()), Err(SigningError::Poisoned { .. })));
        assert_eq!(disk.0.borrow().calls_after_failure, 0, "the file is not touched again");
    }
}

#[test]
fn a_permit_is_synced_before_it_is_given() {
    let disk = Disk::default();
    let mut record = SigningRecord::begin(disk.clone(), &identity()).expect("begun");
    for slot in 1..20 {
        let _permit = record.permit_approval(Slot(slot), Height(slot), root(1)).expect("permitted");
        let state = disk.0.borrow();
        assert_eq!(state.synced, state.written.len());
        assert_eq!(state.written.len(), HEADER + ENTRY * slot as usize);
    }
}

/// Everything a key ever signed; the rules of protocol section 2 looked up in it.
#[derive(Default)]
struct Model {
    proposals: BTreeMap<u64, B256>,
    approvals: BTreeMap<u64, B256>,
    greatest_parent: u64,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Propose {
        slot: u64,
        root: u8,
    },
    Approve {
        slot: u64,
        parent: u64,
        root: u8,
    },
    /// Power cut in the middle of the append of the next entry, which keeps this many of its bytes.
    CrashInAppend {
        slot: u64,
        parent: u64,
        kept: usize,
    },
    Restart,
    /// The history moves to another host.
    Move,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40u64, 1..4u8).prop_map(|(slot, root)| Step::Propose { slot, root }),
        4 => (0..40u64, 0..40u64, 1..4u8).prop_map(|(slot, parent, root)| Step::Approve { slot, parent, root }),
        2 => (0..40u64, 0..40u64, 0..=ENTRY).prop_map(|(slot, parent, kept)| Step::CrashInAppend { slot, parent, kept }),
        1 => Just(Step::Restart),
        1 => Just(Step::Move),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Nothing that the record permits ever contradicts anything it permitted before, whatever crashes in between; and
    /// what is newer than everything before is never refused.
    #[test]
    fn no_history_of_crashes_leads_to_a_double_sign(steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model::default();
        let mut disk = Disk::default();
        let mut record = SigningRecord::begin(disk.clone(), &identity()).expect("begun");
        for step in steps {
            match step {
                Step::Propose { slot, root: number } => {
                    let permitted = record.permit_proposal(Slot(slot), root(number)).is_ok();
                    let newest = model.proposals.last_key_value().map(|(slot, _)| *slot);
                    let expected = match newest {
                        Some(newest) if slot <= newest => slot == newest && model.proposals[&slot] == root(number),
                        _ => true,
                    };
                    prop_assert_eq!(permitted, expected);
                    if permitted {
                        let earlier = *model.proposals.entry(slot).or_insert(root(number));
                        prop_assert_eq!(earlier, root(number), "two proposals for slot {}", slot);
                    }
                }
                Step::Approve { slot, parent, root: number } => {
                    let permitted = record.permit_approval(Slot(slot), Height(parent), root(number)).is_ok();
                    let newest = model.approvals.last_key_value().map(|(slot, _)| *slot);
                    let expected = match newest {
                        Some(newest) if slot <= newest => slot == newest && model.approvals[&slot] == root(number),
                        _ => parent >= model.greatest_parent,
                    };
                    prop_assert_eq!(permitted, expected);
                    if permitted && !model.approvals.contains_key(&slot) {
                        model.approvals.insert(slot, root(number));
                        model.greatest_parent = parent;
                    }
                }
                Step::CrashInAppend { slot, parent, kept } => {
                    disk.0.borrow_mut().fail_sync = true;
                    let refused = record.permit_approval(Slot(slot), Height(parent), root(9)).is_err();
                    let synced = disk.0.borrow().synced;
                    let appended = disk.0.borrow().written.len() > synced;
                    prop_assert!(refused || model.approvals.get(&slot) == Some(&root(9)));
                    disk = disk.after_crash(kept);
                    record = SigningRecord::resume(disk.clone(), &identity()).expect("only a crash");
                    // An entry that reached the disk whole counts, though nothing was signed.
                    if appended && kept == ENTRY {
                        model.approvals.insert(slot, root(9));
                        model.greatest_parent = parent;
                    }
                }
                Step::Restart => {
                    disk = disk.after_crash(0);
                    record = SigningRecord::resume(disk.clone(), &identity()).expect("only a crash");
                }
                Step::Move => {
                    let exported = Interchange::new(identity().genesis_root, [(identity().public_key, *record.watermarks())]);
                    let json = exported.to_json().expect("serialises");
                    let signed = Interchange::parse(json.as_bytes()).and_then(|read| read.watermarks(&identity()));
                    disk = Disk::default();
                    record = SigningRecord::begin(disk.clone(), &identity()).expect("begun");
                    record.raise(&signed.expect("what was exported")).expect("raised");
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let disk = Disk(Rc::new(RefCell::new(DiskState { synced: bytes.len(), written: bytes.clone(), ..DiskState::default() })));
        prop_assert!(SigningRecord::resume(disk, &identity()).is_err());
        prop_assert!(Interchange::parse(&bytes).is_err());
    }
}

fn marks(proposal: u64, approval: u64, parent: u64) -> Watermarks {
    Watermarks {
        proposal: Some(SignedSlot { slot: Slot(proposal), signing_root: Some(root(1)) }),
        approval: Some(SignedApproval {
            signed: SignedSlot { slot: Slot(approval), signing_root: Some(root(2)) },
            parent_height: Height(parent),
        }),
    }
}

#[test]
fn an_imported_history_only_raises() {
    let (_folder, path) = fresh();
    let mut record = create(&path);
    record.raise(&marks(10, 12, 8)).expect("raised");
    record.raise(&marks(3, 4, 20)).expect("raised");
    drop(record);
    let mut record = open(&path).expect("opens");
    assert_eq!(*record.watermarks(), marks(10, 12, 20), "the greatest of each");
    assert!(matches!(record.permit_proposal(Slot(9), root(1)), Err(Refusal::Old { .. })));
    let _same = record.permit_proposal(Slot(10), root(1)).expect("the same again");
    assert!(matches!(record.permit_approval(Slot(13), Height(19), root(3)), Err(Refusal::Lower { .. })));
    let before = fs::metadata(&path).expect("there").len();
    record.raise(&marks(10, 12, 20)).expect("nothing to raise");
    assert_eq!(fs::metadata(&path).expect("there").len(), before);
}

#[test]
fn a_slot_with_two_signatures_elsewhere_is_closed() {
    let (_folder, path) = fresh();
    let mut record = create(&path);
    let _permit = record.permit_proposal(Slot(10), root(5)).expect("permitted");
    record.raise(&marks(10, 12, 8)).expect("raised");
    for number in [1, 5] {
        assert!(matches!(record.permit_proposal(Slot(10), root(number)), Err(Refusal::Conflict { .. })));
    }
    drop(record);
    let mut record = open(&path).expect("opens");
    assert!(matches!(record.permit_proposal(Slot(10), root(5)), Err(Refusal::Conflict { .. })));
    let _permit = record.permit_proposal(Slot(11), root(5)).expect("permitted");
}

#[test]
fn a_record_can_be_created_with_its_history() {
    let (_folder, path) = fresh();
    let record = SigningRecord::create(&path, &identity(), &marks(10, 12, 8)).expect("created");
    assert_eq!(*record.watermarks(), marks(10, 12, 8));
    drop(record);
    assert_eq!(*open(&path).expect("opens").watermarks(), marks(10, 12, 8));
}

fn document(data: &str) -> String {
    let genesis = identity().genesis_root;
    format!(
        r#"{{"metadata":{{"interchange_format":"alys-signing-record","interchange_format_version":"1","genesis_root":"{genesis}"}},"data":[{data}]}}"#
    )
}

#[test]
fn a_whole_history_is_read_to_its_greatest_entries() {
    let key = identity().public_key;
    let other = PublicKeyBytes::repeat_byte(9);
    let (one, two) = (root(1), root(2));
    let json = document(&format!(
        r#"{{"pubkey":"{other}","signed_proposals":[{{"slot":"99"}}],"signed_approvals":[]}},
           {{"pubkey":"{key}",
             "signed_proposals":[{{"slot":"7","signing_root":"{one}"}},{{"slot":"9","signing_root":"{two}"}},{{"slot":"8"}}],
             "signed_approvals":[{{"slot":"5","parent_height":"11","signing_root":"{one}"}},{{"slot":"6","parent_height":"4"}}]}}"#
    ));
    let signed = Interchange::parse(json.as_bytes()).and_then(|read| read.watermarks(&identity())).expect("valid");
    assert_eq!(signed.proposal, Some(SignedSlot { slot: Slot(9), signing_root: Some(two) }));
    let approval = signed.approval.expect("some");
    assert_eq!(approval.signed, SignedSlot { slot: Slot(6), signing_root: None });
    assert_eq!(approval.parent_height, Height(11));
}

#[test]
fn what_is_no_history_of_the_key_is_refused() {
    let key = identity().public_key;
    let entry = format!(r#"{{"pubkey":"{key}","signed_proposals":[],"signed_approvals":[]}}"#);
    let good = document(&entry);
    Interchange::parse(good.as_bytes()).and_then(|read| read.watermarks(&identity())).expect("valid");

    let parse = |json: &str| Interchange::parse(json.as_bytes());
    assert!(matches!(parse(&good.replace("\"1\"", "\"2\"")), Err(InterchangeError::Format { .. })));
    assert!(matches!(parse(&good.replace("alys-signing", "other")), Err(InterchangeError::Format { .. })));
    assert!(matches!(parse(&good.replace("signed_approvals", "attestations")), Err(InterchangeError::Json(_))));
    for number in ["7", "\"-7\"", "\"+7\"", "\"0x7\"", "\"\"", "\"18446744073709551616\""] {
        let bad = good.replace(r#""signed_proposals":[]"#, &format!(r#""signed_proposals":[{{"slot":{number}}}]"#));
        assert!(matches!(parse(&bad), Err(InterchangeError::Json(_))), "{number}");
    }
    let chain = RecordIdentity { genesis_root: Root::ZERO, ..identity() };
    let other_key = RecordIdentity { public_key: PublicKeyBytes::ZERO, ..identity() };
    let read = parse(&good).expect("valid");
    assert!(matches!(read.watermarks(&chain), Err(InterchangeError::OtherChain { .. })));
    assert!(matches!(read.watermarks(&other_key), Err(InterchangeError::NoSuchKey(_))));
}
