//! Programs on the device hold updates back by control maps, people by orders.

use super::Client;
use super::operation::Work;
use crate::checkpoint::Newer;
use crate::control::{Full, Holder, Lifetime, Map, MapError, Order, OrderError, Points};
use crate::deployment::Point;
use crate::flow::Event;
use crate::hal::{Clock, Platform};
use crate::message::texts;
use crate::state::Outcome;

/// Why an update control map is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapNotTaken {
    /// The maps on record are those of this newer version: a further one would be forgotten.
    NoUpdates(Newer),
    /// It is no map.
    Map(MapError),
    /// It is `null`, which stands for no map.
    Null,
    /// There is no room for it.
    Full(Full),
    /// It counts in this process, but could not be stored: a restart forgets it. The log says why.
    NotStored,
}

texts! {
    MAP_ERRORS = 'C': MapNotTaken {
        41 NoUpdates(newer) => "no updates: {newer}",
        42 Map(error) => "{error}",
        43 Null => "null is no update control map",
        44 Full(full) => "{full}",
        45 NotStored =>
            "it counts until the client is started again, but could not be stored: see the log, then say it again",
    }

    ORDER_ERRORS = 'C': OrderNotTaken {
        46 NoUpdates(newer) => "no updates: {newer}",
        47 Order(error) => "{error}",
        48 NotStored =>
            "it counts until the client is started again, but could not be stored: see the log, then say it again",
    }
}

impl core::error::Error for MapNotTaken {}

/// Why an order is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderNotTaken {
    /// As [`MapNotTaken::NoUpdates`].
    NoUpdates(Newer),
    /// As the maps say.
    Order(OrderError),
    /// As [`MapNotTaken::NotStored`].
    NotStored,
}

impl core::error::Error for OrderNotTaken {}

impl<P: Platform> Client<'_, P> {
    /// A program on the device sets an update control map, as JSON. Returns after how many seconds it should be
    /// renewed; the map is durable then, also after [`Self::terminate`], when nothing follows from it in this process.
    ///
    /// # Errors
    /// [`MapNotTaken`]; nothing was changed, but for [`MapNotTaken::NotStored`]: the map then counts until the process
    /// ends. So it is while the store fails, and while the record of maps is damaged and an update is in progress.
    pub fn set_control_map(&mut self, json: &[u8]) -> Result<u64, MapNotTaken> {
        if let Some(newer) = self.no_updates() {
            return Err(MapNotTaken::NoUpdates(newer));
        }
        let now = self.hal.clock.now();
        let map = Map::parse(json).map_err(MapNotTaken::Map)?.ok_or(MapNotTaken::Null)?;
        let renew = self.machine().renewal(now, map).map_err(MapNotTaken::Full)?;
        self.tell(now, Event::LocalMap(map));
        if self.maps_are_stored() { Ok(renew.as_secs()) } else { Err(MapNotTaken::NotStored) }
    }

    /// A person at the device says what updates do at `points`. The order is durable on return, as a map is.
    ///
    /// # Errors
    /// [`OrderNotTaken`]; as with [`Self::set_control_map`].
    pub fn order(
        &mut self,
        name: Holder,
        points: &[Point],
        order: Order,
        lifetime: Lifetime,
    ) -> Result<(), OrderNotTaken> {
        if let Some(newer) = self.no_updates() {
            return Err(OrderNotTaken::NoUpdates(newer));
        }
        let now = self.hal.clock.now();
        let points = Points::of(points);
        self.machine().takes_order(now, name, points, order, lifetime).map_err(OrderNotTaken::Order)?;
        self.tell(now, Event::Order { name, points, order, lifetime });
        if self.maps_are_stored() { Ok(()) } else { Err(OrderNotTaken::NotStored) }
    }

    /// What saves them is done as it begins, and told later.
    fn maps_are_stored(&self) -> bool {
        self.machine().maps_are_stored(self.work == Work::Ended(Outcome::Success))
    }
}
